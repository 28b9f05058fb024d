// The layers of the gate, as the kernel has them: hooks, forwarding, rules, routes, XFRM.
#include "agent/datapath/programs.hpp"
#include "agent/doctor/doctor.hpp"
#include "agent/doctor/hook_programs.hpp"
#include "agent/net/links.hpp"
#include "agent/net/sysctl.hpp"
#include "agent/net/xfrm.hpp"

#include <algorithm>
#include <functional>
#include <linux/if.h>
#include <sys/socket.h>

namespace penstock::doctor {
namespace {

const char* const kPutBack = "penstockd puts it back while it runs: systemctl restart penstockd";

bool contains(const auto& list, const auto& value) { return std::ranges::find(list, value) != list.end(); }

// Our program must be there, and nobody's before it.
void check_hook(const net::Link& link, Side side, const char* program, Report& report) {
    const auto programs = hook_programs(link.name, link.index, side);
    const auto where = link.name + (side == Side::ingress ? " ingress" : " egress");
    if (!programs)
        return report.warning("hooks", programs.error().message(), "run as root, with iproute2 installed");
    const auto ours = std::ranges::find(*programs, program, &HookProgram::name);
    if (ours == programs->end())
        report.wrong("hooks", where + ": " + program + " is not attached: NOT GUARDED", kPutBack);
    else if (ours != programs->begin())
        report.wrong("hooks",
                     where + ": " + programs->front().name + " runs before " + program + " and may pass packets by",
                     "take it away (bpftool net; tc filter show dev " + link.name + "); penstockd goes first again");
    else
        report.ok("hooks", where + ": " + program + " is first of " + std::to_string(programs->size()));
}

void check_forwarding(const core::Config& config, Report& report) {
    bool all = true;
    const auto expect = [&](const std::string& key, const std::string& wanted, const std::string& otherwise,
                            const std::string& mend) {
        const auto value = net::read_sysctl(key);
        if (!value || *value == wanted)
            return; // the interface, or the family, is not there
        all = false;
        report.wrong("forwarding", key + " is " + *value + ": " + otherwise, mend);
    };
    for (const auto& name : config.lan)
        expect(net::interface_sysctl(AF_INET, name, "forwarding"), "1", "devices reach nothing",
               "penstockd switches it on when every layer of the gate stands: penstock status");
    for (const auto& list : {config.lan, config.uplink})
        for (const auto& name : list)
            for (const char* key : {"disable_xfrm", "disable_policy"})
                expect(net::interface_sysctl(AF_INET, name, key), "0", "IPsec policies are passed by",
                       "sysctl -w net.ipv4.conf." + name + "." + key + "=0");
    expect("net/ipv4/conf/all/mc_forwarding", "0", "a multicast router runs, past the device table", "stop it");
    if (all)
        report.ok("forwarding", "on for the LAN, IPsec policies apply");
}

bool is_link_local(const IpAddress& address) {
    const auto bytes = address.mapped();
    return address.family == AF_INET6 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

// A kernel solicits no IPv6 neighbour from an interface without a link-local address: devices are heard, and get no
// answer. It is lost where IPv6 was switched off and on, the addresses flushed, or a port taken out of a bridge.
void check_addresses(const core::Config& config, const core::NetworkView& network, Report& report) {
    const auto addresses = net::list_addresses();
    if (!addresses)
        return report.wrong("addresses", addresses.error().message(), "run as root");
    bool all = true;
    for (const auto& name : config.lan) {
        const auto* link = network.find(name);
        if (link == nullptr)
            continue;
        const auto has = [&](auto wanted) {
            return std::ranges::any_of(*addresses, [&](const net::Address& one) {
                return one.ifindex == link->index && one.address.family == AF_INET6 && one.usable() &&
                       wanted(one.address);
            });
        };
        if (has(std::not_fn(is_link_local)) && !has(is_link_local)) {
            all = false;
            report.wrong("addresses", name + " has IPv6 addresses but no link-local one: no IPv6 device can be reached",
                         "ip -6 addr add fe80::1/64 dev " + name + " scope link");
        }
    }
    if (all)
        report.ok("addresses", "no LAN with IPv6 is without a link-local one");
}

void check_rules(const core::Config& config, Report& report) {
    const auto marks = datapath::Marks::from_mask(config.mark_mask);
    const auto actual = net::list_rules();
    if (!marks || !actual)
        return report.wrong("rules", (!marks ? marks.error() : actual.error()).message(), "run as root");
    const auto wanted = core::desired_rules(config, *marks);
    const auto missing = std::ranges::find_if(wanted, [&](const auto& rule) { return !contains(*actual, rule); });
    if (missing != wanted.end())
        report.wrong("rules", "missing: " + missing->str(), kPutBack);
    std::uint32_t last = 0;
    for (const auto& rule : wanted)
        last = std::max(last, rule.priority);
    const auto before = std::ranges::find_if(*actual, [&](const auto& rule) {
        return rule.protocol != net::kRouteProtocol && rule.priority <= last && !contains(wanted, rule);
    });
    if (before != actual->end())
        report.wrong("rules", "a rule of somebody else stands before or among ours: " + before->str(),
                     "ip rule del it, or raise its priority above " + std::to_string(last));
    if (missing == wanted.end() && before == actual->end())
        report.ok("rules", std::to_string(wanted.size()) + " of ours, before all others");
}

void check_routes(const core::Config& config, Report& report) {
    const auto routes = net::list_routes(config.table);
    if (!routes)
        return report.wrong("routes", routes.error().message(), "run as root");
    const auto ends = std::ranges::count_if(*routes, [](const auto& route) {
        return route.type == net::Route::Type::unreachable && route.destination.length == 0;
    });
    const auto table = "table " + std::to_string(config.table);
    if (ends < 2)
        report.wrong("routes", table + " does not end in `unreachable` for IPv4 and IPv6", kPutBack);
    else
        report.ok("routes", table + ", " + std::to_string(routes->size()) + " routes, the last unreachable");
}

void check_xfrm(const core::Config& config, Report& report) {
    const auto defaults = net::get_default_policy();
    if (!defaults)
        return report.wrong("xfrm", defaults.error().message(), "run as root");
    if (defaults->forward != net::SecurityPolicy::Action::block)
        report.wrong("xfrm", "forwarding without an IPsec policy is not blocked", kPutBack);
    const auto policies = net::list_policies();
    if (!policies)
        return report.wrong("xfrm", policies.error().message(), "run as root");
    bool blocked = true;
    for (const auto& tunnel : config.tunnels)
        for (const auto& remote : tunnel.remote_networks)
            blocked = blocked && std::ranges::any_of(*policies, [&](const auto& policy) {
                          return policy.direction == net::Direction::out && policy.selector.destination == remote &&
                                 (policy.action == net::SecurityPolicy::Action::block || policy.transform);
                      });
    if (!blocked)
        report.wrong("xfrm", "a tunnel's network has no block policy", kPutBack);
    else if (defaults->forward == net::SecurityPolicy::Action::block)
        report.ok("xfrm", "blocks what no tunnel takes");
}

} // namespace

// Only the agent's own TUN, out of which the devices' traffic goes into ESP, has none of our programs; it goes with the
// agent. Anybody else's is an uplink like others.
void check_hooks(const core::Config& config, const core::NetworkView& network, const Result<nlohmann::json>& status,
                 Report& report) {
    std::string tunnel;
    if (status)
        for (const auto& one :
             status->value("gate", nlohmann::json::object()).value("interfaces", nlohmann::json::array()))
            if (one.value("role", "") == "tunnel")
                tunnel = one.value("name", "");
    for (const auto& link : network.links) {
        if ((link.flags & IFF_LOOPBACK) != 0 || (link.kind == "tun" && link.name == tunnel))
            continue;
        if (contains(config.lan, link.name)) {
            check_hook(link, Side::ingress, "lan_ingress", report);
            check_hook(link, Side::egress, "lan_egress", report);
        } else {
            check_hook(link, Side::egress, "uplink_egress", report);
            check_hook(link, Side::ingress, "uplink_ingress", report);
        }
    }
}

void check_layers(const core::Config& config, const core::NetworkView& network, Report& report) {
    check_forwarding(config, report);
    check_addresses(config, network, report);
    check_rules(config, report);
    check_routes(config, report);
    check_xfrm(config, report);
}

} // namespace penstock::doctor
