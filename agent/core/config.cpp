#include "agent/core/config.hpp"

#include "bpf/penstock_abi.h"

#include <toml++/toml.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <set>

namespace penstock::core {
namespace {

// One table of the file: hands out values by key and remembers which were asked for, so that the rest can be refused.
class Section {
public:
    Section(const std::filesystem::path& file, std::string name, const toml::table* table,
            std::vector<std::string>& errors)
        : file_(file), name_(std::move(name)), table_(table), errors_(errors) {}

    template <class T> void read(const char* key, T& out, bool required = false) {
        known_.insert(key);
        const toml::node* node = table_ ? table_->get(key) : nullptr;
        if (node == nullptr) {
            if (required)
                complain(table_ ? table_->source().begin.line : 0, "missing " + full(key));
            return;
        }
        if (!convert(*node, out))
            complain(node->source().begin.line, full(key) + " must be " + wanted(out));
    }

    template <class T> void read_list(const char* key, std::vector<T>& out, bool required = false) {
        known_.insert(key);
        const toml::node* node = table_ ? table_->get(key) : nullptr;
        const toml::array* array = node ? node->as_array() : nullptr;
        if (array == nullptr || array->empty()) {
            if (node != nullptr || required)
                complain(node ? node->source().begin.line : (table_ ? table_->source().begin.line : 0),
                         full(key) + " must be a list with at least one entry");
            return;
        }
        for (const auto& entry : *array) {
            T value{};
            if (convert(entry, value))
                out.push_back(value);
            else
                complain(entry.source().begin.line, "every entry of " + full(key) + " must be " + wanted(value));
        }
    }

    void refuse_unknown_keys() {
        if (table_ == nullptr)
            return;
        for (const auto& [key, node] : *table_) {
            const std::string name(key.str());
            if (!known_.contains(name))
                complain(node.source().begin.line, "unknown key " + full(name.c_str()) + "; known are " + known_list());
        }
    }

    void complain(std::uint32_t line, const std::string& what) {
        errors_.push_back(file_.string() + (line ? ":" + std::to_string(line) : "") + ": " + what);
    }
    [[nodiscard]] std::uint32_t line(const char* key) const {
        const toml::node* node = table_ ? table_->get(key) : nullptr;
        return node ? node->source().begin.line : (table_ ? table_->source().begin.line : 0);
    }

private:
    [[nodiscard]] std::string full(const char* key) const { return "[" + name_ + "] " + key; }
    [[nodiscard]] std::string known_list() const {
        std::string out;
        for (const auto& key : known_)
            out += (out.empty() ? "" : ", ") + key;
        return out;
    }

    static const char* wanted(const std::string&) { return "a text in quotes"; }
    static const char* wanted(const std::filesystem::path&) { return "a path in quotes"; }
    static const char* wanted(const std::uint32_t&) { return "a whole number from 1 to 4294967295"; }
    static const char* wanted(const IpAddress&) { return "an IP address in quotes"; }
    static const char* wanted(const IpPrefix&) {
        return "a network in quotes such as \"10.20.0.0/24\", without host bits";
    }

    static bool convert(const toml::node& node, std::string& out) {
        const auto value = node.value_exact<std::string>();
        out = value.value_or("");
        return value && !out.empty();
    }
    static bool convert(const toml::node& node, std::filesystem::path& out) {
        std::string text;
        const bool ok = convert(node, text);
        out = text;
        return ok;
    }
    static bool convert(const toml::node& node, std::uint32_t& out) {
        const auto value = node.value_exact<std::int64_t>();
        if (!value || *value < 1 || *value > 0xffffffffLL)
            return false;
        out = static_cast<std::uint32_t>(*value);
        return true;
    }
    static bool convert(const toml::node& node, IpAddress& out) { return parse(node, out); }
    static bool convert(const toml::node& node, IpPrefix& out) { return parse(node, out); }
    template <class T> static bool parse(const toml::node& node, T& out) {
        const auto text = node.value_exact<std::string>();
        if (!text)
            return false;
        auto value = T::parse(*text);
        if (value)
            out = *value;
        return value.has_value();
    }

    const std::filesystem::path& file_;
    std::string name_;
    const toml::table* table_;
    std::vector<std::string>& errors_;
    std::set<std::string> known_;
};

void read_choice(Section& section, const char* key, const std::map<std::string, std::function<void()>>& choices) {
    std::string text;
    section.read(key, text);
    if (text.empty())
        return;
    const auto found = choices.find(text);
    if (found != choices.end()) {
        found->second();
        return;
    }
    std::string all;
    for (const auto& [name, action] : choices)
        all += (all.empty() ? "\"" : ", \"") + name + "\"";
    section.complain(section.line(key), std::string(key) + " must be one of " + all);
}

TunnelConfig read_tunnel(Section& section) {
    TunnelConfig tunnel;
    section.read("name", tunnel.name, true);
    section.read("peer", tunnel.peer, true);
    section.read("local_id", tunnel.local_id, true);
    section.read("remote_id", tunnel.remote_id, true);
    section.read_list("local_networks", tunnel.local_networks, true);
    section.read_list("remote_networks", tunnel.remote_networks, true);
    section.read("ike_proposal", tunnel.ike_proposal);
    section.read("esp_proposal", tunnel.esp_proposal);
    section.read("ike_rekey", tunnel.ike_rekey);
    section.read("child_rekey", tunnel.child_rekey);
    section.read("dpd", tunnel.dpd);
    section.refuse_unknown_keys();

    const auto line = section.line("name");
    if (tunnel.name.size() > 32 || tunnel.name.find_first_of(" /\"") != std::string::npos)
        section.complain(line, "a tunnel's name has at most 32 characters and neither blank, quote nor slash");
    for (const auto& proposal : {tunnel.ike_proposal, tunnel.esp_proposal})
        if (proposal.find("gcm") == std::string::npos && proposal.find("chacha20poly1305") == std::string::npos)
            section.complain(line,
                             "proposal \"" + proposal + "\" has no AEAD cipher; use aes256gcm16 or chacha20poly1305");
    for (const auto& network : tunnel.remote_networks) {
        if (network.length == 0)
            section.complain(section.line("remote_networks"), "a remote network cannot be everything (" +
                                                                  network.str() + "); list the cloud's networks");
        if (network.contains(tunnel.peer))
            section.complain(section.line("remote_networks"), "remote network " + network.str() + " holds the peer " +
                                                                  tunnel.peer.str() +
                                                                  ", which must stay reachable outside the tunnel");
        for (const auto& local : tunnel.local_networks)
            if (local.overlaps(network))
                section.complain(section.line("remote_networks"),
                                 "local network " + local.str() + " and remote network " + network.str() + " overlap");
    }
    return tunnel;
}

void check_whole(const Config& config, Section& top) {
    std::set<std::string> interfaces;
    for (const auto* list : {&config.lan, &config.uplink})
        for (const auto& name : *list)
            if (!interfaces.insert(name).second)
                top.complain(0, "interface " + name + " is named twice; an interface is either LAN or uplink");
    std::size_t networks = 0;
    std::set<std::string> names;
    for (const auto& tunnel : config.tunnels) {
        networks += tunnel.remote_networks.size();
        if (!names.insert(tunnel.name).second)
            top.complain(0, "two tunnels are called " + tunnel.name);
    }
    for (std::size_t i = 0; i < config.tunnels.size(); i++)
        for (std::size_t j = i + 1; j < config.tunnels.size(); j++)
            for (const auto& a : config.tunnels[i].remote_networks)
                for (const auto& b : config.tunnels[j].remote_networks)
                    if (a.overlaps(b))
                        top.complain(0, "tunnels " + config.tunnels[i].name + " and " + config.tunnels[j].name +
                                            " both claim " + b.str());
    if (config.tunnels.size() > PENSTOCK_MAX_TUNNELS)
        top.complain(0, "more than " + std::to_string(PENSTOCK_MAX_TUNNELS) + " tunnels");
    if (networks > PENSTOCK_MAX_SELECTORS)
        top.complain(0, "more than " + std::to_string(PENSTOCK_MAX_SELECTORS) + " remote networks in all tunnels");
    const auto mask = config.mark_mask, low = mask & (~mask + 1);
    if (std::popcount(mask) != 2 || mask != (low | low << 1))
        top.complain(0, "[mark] mask must be two adjacent bits, for example 0x30000000");
    if (config.table < 256 || config.table > 0x7fffffff)
        top.complain(0, "[routing] table must be 256 to 2147483647; the lower ones are the system's");
    if (config.rule_priority > 1000)
        top.complain(0, "[routing] rule_priority must be 1 to 1000");
}

} // namespace

Result<Config> Config::load(const std::filesystem::path& file) {
    toml::table root;
    try {
        root = toml::parse_file(file.string());
    } catch (const toml::parse_error& error) {
        const auto line = error.source().begin.line;
        return fail(file.string() + (line ? ":" + std::to_string(line) : "") + ": " + std::string(error.description()));
    }
    std::vector<std::string> errors;
    Config config;
    config.file = file;
    const auto section = [&](const char* name) { return Section(file, name, root[name].as_table(), errors); };

    auto top = Section(file, "file", &root, errors);
    for (const auto& [key, node] : root) {
        static const std::set<std::string_view> kSections = {"gateway", "lan",   "uplink", "ike",    "tunnel",
                                                             "policy",  "paths", "mark",   "routing"};
        if (!kSections.contains(key.str()))
            top.complain(node.source().begin.line,
                         "unknown section [" + std::string(key.str()) +
                             "]; known are gateway, lan, uplink, ike, tunnel, policy, paths, mark, routing");
        else if (key.str() == "tunnel" ? !node.is_array_of_tables() : !node.is_table())
            top.complain(node.source().begin.line,
                         std::string(key.str()) +
                             (key.str() == "tunnel" ? " must be written [[tunnel]]" : " must be a section"));
    }

    auto gateway = section("gateway");
    gateway.read("name", config.gateway, true);
    gateway.refuse_unknown_keys();
    auto lan = section("lan");
    lan.read_list("interfaces", config.lan, true);
    lan.refuse_unknown_keys();
    auto uplink = section("uplink");
    uplink.read_list("interfaces", config.uplink, true);
    read_choice(
        uplink, "host_egress",
        {{"closed", [&] { config.host_egress_open = false; }}, {"open", [&] { config.host_egress_open = true; }}});
    uplink.refuse_unknown_keys();

    auto ike = section("ike");
    ike.read("certificate", config.certificate, true);
    ike.read("private_key", config.private_key, true);
    ike.read_list("ca", config.ca, true);
    ike.read("user", config.ike_user);
    read_choice(ike, "esp",
                {{"auto", [&] { config.esp = EspMode::automatic; }},
                 {"kernel", [&] { config.esp = EspMode::kernel; }},
                 {"user", [&] { config.esp = EspMode::user; }}});
    ike.refuse_unknown_keys();
    if (const auto* tunnels = root["tunnel"].as_array())
        for (const auto& node : *tunnels) {
            auto tunnel = Section(file, "[tunnel]", node.as_table(), errors);
            config.tunnels.push_back(read_tunnel(tunnel));
        }
    if (config.tunnels.empty())
        top.complain(0, "no [[tunnel]]; devices could reach nothing");

    auto policy = section("policy");
    policy.read("root", config.root, true);
    read_choice(
        policy, "on_expiry",
        {{"keep", [&] { config.lock_on_expiry = false; }}, {"lockdown", [&] { config.lock_on_expiry = true; }}});
    policy.read("devices", config.device_capacity);
    policy.refuse_unknown_keys();
    auto paths = section("paths");
    paths.read("state", config.state);
    paths.read("run", config.run);
    paths.read("bpffs", config.bpffs);
    paths.read("libexec", config.libexec);
    paths.refuse_unknown_keys();
    auto mark = section("mark");
    mark.read("mask", config.mark_mask);
    mark.refuse_unknown_keys();
    auto routing = section("routing");
    routing.read("table", config.table);
    routing.read("rule_priority", config.rule_priority);
    routing.refuse_unknown_keys();
    check_whole(config, top);

    if (!errors.empty()) {
        std::string all;
        for (const auto& error : errors)
            all += (all.empty() ? "" : "\n") + error;
        return fail(std::move(all));
    }
    // Relative paths are relative to the file, not to wherever the process was started.
    const auto folder = std::filesystem::absolute(file).parent_path();
    for (auto* path : {&config.certificate, &config.private_key, &config.root})
        *path = folder / *path;
    for (auto& path : config.ca)
        path = folder / path;
    return config;
}

} // namespace penstock::core
