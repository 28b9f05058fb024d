#include "agent/core/config.hpp"

#include "agent/core/config_section.hpp"
#include "agent/core/essentials.hpp"
#include "agent/ike/channel.h"
#include "bpf/penstock_abi.h"
#include "policy/limits.hpp"
#include "policy/text.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <linux/if.h>

namespace penstock::core {
namespace {

constexpr auto kRequired = Section::Need::required;
constexpr std::uint32_t kAuditDays = 400, kAuditMib = 64;
constexpr std::array<std::string_view, 14> kSections = {"gateway",   "lan",   "api",    "bundle", "uplink",
                                                        "essential", "ike",   "tunnel", "policy", "storage",
                                                        "privacy",   "paths", "mark",   "routing"};

std::vector<std::string> split(std::string_view text, std::string_view separators) {
    std::vector<std::string> out;
    while (true) {
        const auto begin = text.find_first_not_of(separators);
        if (begin == std::string_view::npos)
            return out;
        text.remove_prefix(begin);
        out.emplace_back(text.substr(0, text.find_first_of(separators)));
        text.remove_prefix(out.back().size());
    }
}

// Of the words of a proposal, those that libcharon reads as a cipher.
bool is_cipher(std::string_view word) {
    constexpr std::array<std::string_view, 10> kCiphers = {"aes",      "camellia", "chacha20", "3des",    "des",
                                                           "blowfish", "cast",     "serpent",  "twofish", "null"};
    constexpr std::array<std::string_view, 3> kIntegrity = {"aesxcbc", "aescmac", "camelliaxcbc"};
    return std::ranges::any_of(kCiphers, [&](auto cipher) { return word.starts_with(cipher); }) &&
           std::ranges::find(kIntegrity, word) == kIntegrity.end();
}

// penstock-ike refuses a whole list for one proposal that could lead to anything but AEAD; for ESP the gate knows only
// those with an integrity check of 16 bytes.
void check_proposals(const char* key, const std::string& list, std::initializer_list<std::string_view> aeads,
                     Section& section) {
    const auto is_aead = [&](const std::string& word) {
        return std::ranges::any_of(aeads, [&](auto aead) { return word.find(aead) != std::string::npos; });
    };
    if (list.size() >= PIKE_PROPOSAL)
        section.complain(key, std::string(key) + " has more than " + std::to_string(PIKE_PROPOSAL - 1) +
                                  " bytes; list fewer proposals");
    const auto proposals = split(list, ", ");
    if (proposals.empty())
        section.complain(key, std::string(key) + " names no proposal");
    for (const auto& proposal : proposals) {
        const auto words = split(proposal, "-");
        const auto ciphers = std::ranges::count_if(words, is_cipher);
        const auto good = std::ranges::count_if(words, is_aead);
        if (good == 0)
            section.complain(key,
                             "proposal \"" + proposal + "\" has no AEAD cipher; use aes256gcm16 or chacha20poly1305");
        else if (good != ciphers)
            section.complain(key,
                             "proposal \"" + proposal +
                                 "\" has a cipher that is no AEAD; use only such as aes256gcm16 or chacha20poly1305");
    }
}

void check_networks(const TunnelConfig& tunnel, Section& section) {
    for (const auto& [key, networks] :
         {std::pair{"local_networks", &tunnel.local_networks}, {"remote_networks", &tunnel.remote_networks}})
        if (networks->size() > PIKE_SELECTORS)
            section.complain(key, std::string(key) + " has more than " + std::to_string(PIKE_SELECTORS) +
                                      " networks; join neighbours, or make it two tunnels");
    for (const auto& network : tunnel.remote_networks) {
        if (network.length == 0)
            section.complain("remote_networks", "a remote network cannot be everything (" + network.str() +
                                                    "); list the cloud's networks");
        if (network.contains(tunnel.peer))
            section.complain("remote_networks", "remote network " + network.str() + " holds the peer " +
                                                    tunnel.peer.str() +
                                                    ", which must stay reachable outside the tunnel");
        for (const auto& local : tunnel.local_networks)
            if (local.overlaps(network))
                section.complain("remote_networks",
                                 "local network " + local.str() + " and remote network " + network.str() + " overlap");
    }
    for (const auto& local : tunnel.local_networks)
        if (local.contains(tunnel.peer))
            section.complain("peer", "the peer " + tunnel.peer.str() + " is inside local network " + local.str() +
                                         ", where the devices are");
}

TunnelConfig read_tunnel(Section& section) {
    TunnelConfig tunnel;
    section.read("name", tunnel.name, kRequired);
    section.read("peer", tunnel.peer, kRequired);
    section.read("local_id", tunnel.local_id, kRequired);
    section.read("remote_id", tunnel.remote_id, kRequired);
    section.read_list("local_networks", tunnel.local_networks, kRequired);
    section.read_list("remote_networks", tunnel.remote_networks, kRequired);
    section.read("ike_proposal", tunnel.ike_proposal);
    section.read("esp_proposal", tunnel.esp_proposal);
    section.read("ike_rekey", tunnel.ike_rekey);
    section.read("child_rekey", tunnel.child_rekey);
    section.read("dpd", tunnel.dpd);
    section.refuse_unknown_keys();

    if (tunnel.name.size() > 32 || tunnel.name.find_first_of(" /\"") != std::string::npos)
        section.complain("name", "a tunnel's name has at most 32 characters and neither blank, quote nor slash");
    check_proposals("ike_proposal", tunnel.ike_proposal, {"gcm", "ccm", "chacha20poly1305"}, section);
    check_proposals("esp_proposal", tunnel.esp_proposal, {"gcm16", "gcm128", "chacha20poly1305"}, section);
    for (const auto& [key, id] : {std::pair{"local_id", &tunnel.local_id}, {"remote_id", &tunnel.remote_id}})
        if (id->size() >= PIKE_ID)
            section.complain(key, std::string(key) + " has more than " + std::to_string(PIKE_ID - 1) + " bytes");
    check_networks(tunnel, section);
    return tunnel;
}

void check_interfaces(const Config& config, Section& lan, Section& uplink) {
    std::vector<std::string> seen;
    for (const auto& [list, section] : {std::pair{&config.lan, &lan}, {&config.uplink, &uplink}})
        for (const auto& name : *list) {
            if (name.size() >= IFNAMSIZ || name.find_first_of("/ \t") != std::string::npos)
                section->complain("interfaces", policy::quote(name) + " cannot be an interface: a name has at most " +
                                                    std::to_string(IFNAMSIZ - 1) +
                                                    " characters and neither blank nor slash");
            if (name == "lo")
                section->complain("interfaces", "lo is the gateway's own loopback, neither LAN nor uplink");
            if (std::ranges::find(seen, name) != seen.end())
                section->complain("interfaces",
                                  "interface " + name + " is named twice; an interface is either LAN or uplink");
            seen.push_back(name);
        }
}

// "ppp0@wan0", as `ip link` writes what stands on what.
void read_pppoe(Config& config, Section& uplink) {
    std::vector<std::string> texts;
    uplink.read_list("pppoe", texts);
    for (const auto& text : texts) {
        const auto at = text.find('@');
        const Config::Pppoe one{.uplink = text.substr(0, at),
                                .carrier = at == std::string::npos ? "" : text.substr(at + 1)};
        if (one.uplink.empty() || one.carrier.empty() || one.carrier.size() >= IFNAMSIZ)
            uplink.complain("pppoe", policy::quote(text) +
                                         " is no PPPoE uplink; write it as \"ppp0@wan0\": the uplink, and "
                                         "the Ethernet interface below it");
        else if (std::ranges::find(config.uplink, one.uplink) == config.uplink.end())
            uplink.complain("pppoe", one.uplink + " is not among [uplink] interfaces");
        else if (std::ranges::find(config.lan, one.carrier) != config.lan.end())
            uplink.complain("pppoe", one.carrier + " is a LAN; PPPoE needs an interface of its own");
        config.pppoe.push_back(one);
    }
}

void check_tunnels(const std::vector<TunnelConfig>& tunnels, const std::vector<std::uint32_t>& lines,
                   Complaints& complaints) {
    std::size_t networks = 0;
    for (std::size_t j = 0; j < tunnels.size(); j++) {
        networks += tunnels[j].remote_networks.size();
        for (std::size_t i = 0; i < j; i++) {
            if (tunnels[i].name == tunnels[j].name)
                complaints.add(lines[j], "two tunnels are called " + tunnels[j].name);
            for (const auto& a : tunnels[i].remote_networks)
                for (const auto& b : tunnels[j].remote_networks)
                    if (a.overlaps(b))
                        complaints.add(lines[j], "tunnels " + tunnels[i].name + " and " + tunnels[j].name +
                                                     " both claim " + b.str());
        }
    }
    if (tunnels.empty())
        complaints.add(0, "no [[tunnel]]; devices could reach nothing");
    if (tunnels.size() > PENSTOCK_MAX_TUNNELS)
        complaints.add(lines.back(), "more than " + std::to_string(PENSTOCK_MAX_TUNNELS) + " tunnels");
    if (networks > PENSTOCK_MAX_SELECTORS)
        complaints.add(lines.back(),
                       "more than " + std::to_string(PENSTOCK_MAX_SELECTORS) + " remote networks in all tunnels");
}

void check_mark(std::uint32_t mask, Section& section) {
    const auto low = mask & (~mask + 1);
    if (std::popcount(mask) != 2 || mask != (low | low << 1))
        section.complain("mask", "[mark] mask must be two adjacent bits, for example 0x30000000");
}

void check_paths(const Config& config, Section& section) {
    for (const auto& [key, path] : {std::pair{"state", config.state}, {"run", config.run}, {"bpffs", config.bpffs}})
        if (!path.is_absolute())
            section.complain(key, std::string("[paths] ") + key + " must be an absolute path");
    if (!config.libexec.empty() && !config.libexec.is_absolute())
        section.complain("libexec", "[paths] libexec must be an absolute path");
}

void check_sections(const toml::table& root, Complaints& complaints) {
    for (const auto& [key, node] : root) {
        const std::string name(key.str());
        const auto line = key.source().begin.line;
        if (std::ranges::find(kSections, name) == kSections.end()) {
            auto hint = policy::did_you_mean(name, kSections);
            if (hint.empty())
                for (const auto known : kSections)
                    hint += (hint.empty() ? "; known are " : ", ") + std::string(known);
            complaints.add(line, "unknown section [" + name + "]" + hint);
        } else if (const bool many = name == "tunnel" || name == "essential";
                   many ? !node.is_array_of_tables() : !node.is_table()) {
            complaints.add(line, many ? "a section " + name + " must be written [[" + name + "]]"
                                      : name + " must be a section");
        }
    }
}

} // namespace

Result<Config> Config::load(const std::filesystem::path& file) {
    const auto parsed = read_toml(file);
    if (!parsed)
        return tl::unexpected(parsed.error());
    const auto& root = *parsed;
    Complaints complaints(file.string());
    Config config;
    config.file = file;
    const auto section = [&](const char* name) {
        return Section("[" + std::string(name) + "]", root[name].as_table(), complaints);
    };
    check_sections(root, complaints);

    auto gateway = section("gateway");
    gateway.read("name", config.gateway, kRequired);
    gateway.refuse_unknown_keys();
    auto lan = section("lan");
    lan.read_list("interfaces", config.lan, kRequired);
    lan.read_choice("early_drop", {{"auto", [&] { config.early_drop = EarlyDropMode::automatic; }},
                                   {"on", [&] { config.early_drop = EarlyDropMode::on; }},
                                   {"off", [&] { config.early_drop = EarlyDropMode::off; }}});
    lan.refuse_unknown_keys();
    auto uplink = section("uplink");
    uplink.read_list("interfaces", config.uplink, kRequired);
    uplink.read_choice("host_egress", {{"closed", [&] { config.host_egress_open = false; }},
                                       {"open", [&] { config.host_egress_open = true; }}});
    read_pppoe(config, uplink);
    uplink.refuse_unknown_keys();
    check_interfaces(config, lan, uplink);
    if (const auto* table = root["api"].as_table()) {
        auto api = Section("[api]", table, complaints);
        config.api = read_api(api);
    }
    if (const auto* table = root["bundle"].as_table()) {
        auto bundle = Section("[bundle]", table, complaints);
        config.bundle = read_bundle(bundle, config.api ? std::optional(config.api->user) : std::nullopt);
    }
    const auto api_port = config.api ? std::optional(config.api->listen.port) : std::nullopt;
    if (const auto* essentials = root["essential"].as_array())
        for (const auto& node : *essentials) {
            auto essential = Section("[[essential]]", node.as_table(), complaints);
            config.essentials.push_back(read_essential(essential, api_port));
        }

    auto ike = section("ike");
    ike.read("certificate", config.certificate, kRequired);
    ike.read("private_key", config.private_key, kRequired);
    ike.read_list("ca", config.ca, kRequired);
    ike.read("user", config.ike_user);
    ike.read_choice("esp", {{"auto", [&] { config.esp = EspMode::automatic; }},
                            {"kernel", [&] { config.esp = EspMode::kernel; }},
                            {"user", [&] { config.esp = EspMode::user; }}});
    ike.refuse_unknown_keys();
    std::vector<std::uint32_t> tunnel_lines;
    if (const auto* tunnels = root["tunnel"].as_array())
        for (const auto& node : *tunnels) {
            auto tunnel = Section("[[tunnel]]", node.as_table(), complaints);
            config.tunnels.push_back(read_tunnel(tunnel));
            tunnel_lines.push_back(tunnel.line("name"));
        }
    check_tunnels(config.tunnels, tunnel_lines, complaints);

    auto policy = section("policy");
    policy.read("root", config.root, kRequired);
    policy.read_choice("on_expiry", {{"keep", [&] { config.lock_on_expiry = false; }},
                                     {"lockdown", [&] { config.lock_on_expiry = true; }}});
    policy.read("devices", config.device_capacity, 1, policy::kMaxDevices.value);
    policy.read("flows", config.flows_per_device, PENSTOCK_MIN_FLOWS, PENSTOCK_MAX_FLOWS);
    if (!std::has_single_bit(config.flows_per_device))
        policy.complain("flows", "[policy] flows must be 16, 32, 64, 128 or 256");
    policy.refuse_unknown_keys();
    auto storage = section("storage");
    std::uint32_t audit_days = kAuditDays, audit_mib = kAuditMib;
    storage.read("key", config.storage.file);
    storage.read_list("previous_keys", config.storage.previous);
    storage.read("audit_days", audit_days, 1, 36500);
    storage.read("audit_mib", audit_mib, 2, 4096);
    storage.refuse_unknown_keys();
    config.audit.keep = std::chrono::days(audit_days);
    config.audit.total_bytes = std::size_t{audit_mib} << 20;
    auto privacy = section("privacy");
    std::uint32_t event_hours = static_cast<std::uint32_t>(config.keep_events.count());
    privacy.read_choice("identities", {{"pseudonyms", [&] { config.full_identities = false; }},
                                       {"full", [&] { config.full_identities = true; }}});
    privacy.read("event_hours", event_hours, 1, 8760);
    privacy.refuse_unknown_keys();
    config.keep_events = std::chrono::hours(event_hours);
    auto paths = section("paths");
    paths.read("state", config.state);
    paths.read("run", config.run);
    paths.read("bpffs", config.bpffs);
    paths.read("libexec", config.libexec);
    paths.refuse_unknown_keys();
    check_paths(config, paths);
    auto mark = section("mark");
    mark.read("mask", config.mark_mask);
    mark.refuse_unknown_keys();
    check_mark(config.mark_mask, mark);
    auto routing = section("routing");
    // The lower tables are the system's.
    routing.read("table", config.table, 256, 0x7fffffff);
    routing.read("rule_priority", config.rule_priority, 1, 1000);
    routing.refuse_unknown_keys();

    if (auto ok = complaints.status(); !ok)
        return tl::unexpected(ok.error());
    // Relative paths are relative to the file, not to wherever the process was started.
    const auto folder = std::filesystem::absolute(file).parent_path();
    for (auto* path : {&config.certificate, &config.private_key, &config.root, &config.storage.file})
        *path = folder / *path;
    for (auto* paths_of : {&config.ca, &config.storage.previous})
        for (auto& path : *paths_of)
            path = folder / path;
    if (config.api)
        config.api->resolve(folder);
    if (config.bundle)
        config.bundle->resolve(folder);
    return config;
}

std::set<IpPrefix> Config::device_networks() const {
    std::set<IpPrefix> out;
    for (const auto& tunnel : tunnels)
        out.insert(tunnel.local_networks.begin(), tunnel.local_networks.end());
    return out;
}

} // namespace penstock::core
