// What others did to the same kernel: filters, marks, SAs, and hardware that forwards below the gate.
#include "agent/base/fd.hpp"
#include "agent/core/carriers.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/doctor/doctor.hpp"
#include "agent/doctor/hook_programs.hpp"
#include "agent/doctor/tool.hpp"
#include "agent/net/rules.hpp"
#include "agent/net/xfrm.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace penstock::doctor {
namespace {

using Json = nlohmann::json;

bool our_program(const std::string& name) {
    return std::ranges::any_of(datapath::kHooks,
                               [&](datapath::Hook hook) { return name == datapath::hook_name(hook); });
}

std::string hex(std::uint32_t value) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "0x%x", value);
    return text.data();
}

bool ours(const core::Config& config, const std::string& name) {
    return std::ranges::find(config.lan, name) != config.lan.end() ||
           std::ranges::find(config.uplink, name) != config.uplink.end();
}

// What concerns an uplink concerns what is below it.
core::Config with_carriers(core::Config config, const core::NetworkView& network) {
    for (const auto& [ifindex, carrier] : core::find_carriers(config, network, net::list_pppoe_sessions()).links)
        if (const auto* link = network.find(ifindex); link != nullptr && !ours(config, link->name))
            config.uplink.push_back(link->name);
    return config;
}

void check_filters(const core::Config& config, const core::NetworkView& network, Report& report) {
    bool found = false;
    for (const auto& link : network.links)
        for (const auto side : {Side::ingress, Side::egress}) {
            const auto programs =
                ours(config, link.name) ? hook_programs(link.name, link.index, side) : std::vector<HookProgram>{};
            if (!programs)
                continue; // said with the hooks
            for (const auto& one : *programs)
                if (!our_program(one.name)) {
                    found = true;
                    report.warning("foreign tc",
                                   one.name + " on " + link.name + (side == Side::ingress ? " ingress" : " egress") +
                                       " is not ours; behind ours it can only drop more",
                                   "tc filter show dev " + link.name + "; bpftool net");
                }
        }
    if (!found)
        report.ok("foreign tc", "no other filter on LAN or uplink");
}

// "mark or 0x1" keeps the other bits; a plain value, or another mark, does not.
bool keeps_bits(const Json& value, std::uint32_t mask) {
    if (!value.is_object() || !value.contains("|") || !value["|"].is_array())
        return false;
    return std::ranges::all_of(value["|"], [&](const Json& side) {
        return side.is_object() || (side.is_number_unsigned() && (side.get<std::uint64_t>() & mask) == 0);
    });
}

void check_rule(const Json& rule, std::uint32_t mask, Report& report, bool& found) {
    const auto where =
        "nft " + rule.value("family", "") + " " + rule.value("table", "") + " " + rule.value("chain", "");
    for (const auto& statement : rule.value("expr", Json::array())) {
        const auto mangle = statement.find("mangle");
        const bool sets_mark = mangle != statement.end() && mangle->is_object() &&
                               mangle->value("/key/meta/key"_json_pointer, std::string()) == "mark" &&
                               !keeps_bits(mangle->value("value", Json()), mask);
        const auto xt = statement.find("xt"); // iptables over nft
        const bool target = xt != statement.end() && xt->is_object() && xt->value("name", "").ends_with("MARK");
        if (!sets_mark && !target)
            continue;
        found = true;
        report.warning("foreign nft", where + " sets packet marks and may wipe penstock's bits " + hex(mask),
                       "leave those bits alone there: meta mark set meta mark or 0x1");
    }
}

void check_flowtable(const core::Config& config, const Json& table, Report& report, bool& found) {
    const auto devices = table.value("dev", Json());
    const auto list = devices.is_array() ? devices : Json::array({devices});
    const bool concerns = std::ranges::any_of(
        list, [&](const Json& one) { return one.is_string() && ours(config, one.get<std::string>()); });
    if (!concerns)
        return;
    found = true;
    const auto name = "nft flowtable " + table.value("name", "");
    const auto mend = "nft delete flowtable " + table.value("family", "inet") + " " + table.value("table", "") + " " +
                      table.value("name", "");
    if (table.contains("flags"))
        report.wrong("foreign nft", name + " lets the hardware forward, below the gate", mend);
    else
        report.warning("foreign nft", name + " forwards past the routing layer", mend);
}

void check_nft(const core::Config& config, Report& report) {
    const auto ruleset = ask_tool({"nft", "-j", "list", "ruleset"});
    if (!ruleset && ruleset.error().code() == ENOENT)
        return report.ok("foreign nft", "no nft here, so its rules were not looked at");
    if (!ruleset)
        return report.warning("foreign nft", ruleset.error().message(), "run as root");
    bool found = false;
    for (const auto& entry : ruleset->is_object() ? ruleset->value("nftables", Json::array()) : Json::array()) {
        if (entry.contains("rule"))
            check_rule(entry["rule"], config.mark_mask, report, found);
        if (entry.contains("flowtable"))
            check_flowtable(config, entry["flowtable"], report, found);
    }
    if (!found)
        report.ok("foreign nft", "no rule that sets marks, no flowtable on LAN or uplink");
}

void check_marks(const core::Config& config, Report& report) {
    const auto rules = net::list_rules();
    if (!rules)
        return; // said with the rules
    bool found = false;
    for (const auto& rule : *rules)
        if (rule.protocol != net::kRouteProtocol && rule.fwmark && (rule.fwmark->second & config.mark_mask) != 0) {
            found = true;
            report.warning("marks",
                           "a rule of somebody else looks at penstock's mark bits " + hex(config.mark_mask) + ": " +
                               rule.str(),
                           "give it other bits, or set [mark] mask");
        }
    if (!found)
        report.ok("marks", "nobody else's rule looks at " + hex(config.mark_mask));
}

void check_sas(const core::Config& config, Report& report) {
    const auto sas = net::list_sas();
    if (!sas)
        return; // said with XFRM
    const auto foreign =
        std::ranges::count_if(*sas, [&](const auto& sa) { return sa.reqid < 1 || sa.reqid > config.tunnels.size(); });
    if (foreign != 0)
        report.warning("foreign xfrm", std::to_string(foreign) + " SAs are not penstock's: another IKE daemon?",
                       "ip xfrm state; systemctl stop strongswan");
    else
        report.ok("foreign xfrm", "no SA of anybody else");
}

// Features of a device by name: those that are on.
Result<std::vector<std::string>> active_features(const std::string& interface) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket)
        return fail_errno("socket");
    const auto ask = [&](void* request) {
        ifreq message{};
        interface.copy(message.ifr_name, IFNAMSIZ - 1);
        message.ifr_data = static_cast<char*>(request);
        return ioctl(socket.get(), SIOCETHTOOL, &message) == 0;
    };
    // As struct ethtool_sset_info, ethtool_gstrings and ethtool_gfeatures, whose ends are arrays without a length.
    struct {
        std::uint32_t command = ETHTOOL_GSSET_INFO, reserved = 0;
        std::uint64_t mask = 1ULL << ETH_SS_FEATURES;
        std::uint32_t count = 0;
    } sets;
    if (!ask(&sets))
        return fail_errno("cannot ask for the features of " + interface);
    const std::uint32_t blocks = (sets.count + 31) / 32;
    const std::array<std::uint32_t, 3> strings{ETHTOOL_GSTRINGS, ETH_SS_FEATURES, sets.count};
    const std::array<std::uint32_t, 2> features{ETHTOOL_GFEATURES, blocks};
    std::vector<char> names(sizeof strings + static_cast<std::size_t>(sets.count) * ETH_GSTRING_LEN);
    std::vector<char> bits(sizeof features + blocks * sizeof(ethtool_get_features_block));
    std::memcpy(names.data(), &strings, sizeof strings);
    std::memcpy(bits.data(), &features, sizeof features);
    if (!ask(names.data()) || !ask(bits.data()))
        return fail_errno("cannot ask for the features of " + interface);
    std::vector<std::string> out;
    for (std::uint32_t i = 0; i < sets.count; i++) {
        ethtool_get_features_block block{};
        std::memcpy(&block, bits.data() + sizeof features + i / 32 * sizeof block, sizeof block);
        const char* name = names.data() + sizeof strings + static_cast<std::size_t>(i) * ETH_GSTRING_LEN;
        if ((block.active >> (i % 32) & 1U) != 0)
            out.emplace_back(name, strnlen(name, ETH_GSTRING_LEN));
    }
    return out;
}

} // namespace

void check_foreign(const core::Config& config, const core::NetworkView& network, Report& report) {
    const auto all = with_carriers(config, network);
    check_filters(all, network, report);
    check_nft(all, report);
    check_marks(config, report);
    check_sas(config, report);
}

void check_offloads(const core::Config& config, const core::NetworkView& network, Report& report) {
    const auto all = with_carriers(config, network);
    bool found = false;
    for (const auto& link : network.links) {
        const auto active = ours(all, link.name) ? active_features(link.name) : std::vector<std::string>{};
        if (!active)
            continue; // a driver without ethtool has none of them
        for (const char* feature : {"hw-tc-offload", "esp-hw-offload"})
            if (std::ranges::find(*active, feature) != active->end()) {
                found = true;
                report.wrong("offloads",
                             std::string(feature) + " is on for " + link.name +
                                 ": the hardware may pass packets below the gate",
                             "ethtool -K " + link.name + " " + feature + " off");
            }
    }
    if (!found)
        report.ok("offloads", "no hardware forwards below the gate");
}

} // namespace penstock::doctor
