#include "agent/core/sysctls.hpp"

#include "agent/net/sysctl.hpp"

#include <cerrno>
#include <linux/if.h>
#include <sys/socket.h>

namespace penstock::core {
namespace {

struct Switch {
    int family;
    const char* name;
    const char* value;
};

// Of every interface but loopback: XFRM's own blocks must see its packets.
constexpr Switch kEverywhere[] = {
    {AF_INET, "disable_xfrm", "0"}, {AF_INET, "disable_policy", "0"}, {AF_INET6, "disable_policy", "0"}};
// Of LAN and uplink, and of "all" where the kernel takes either: no redirect may quote a device's packet or bend a
// route, no stranger may choose a route or reach 127.0.0.1, and nobody answers for an address on the other side.
constexpr Switch kGuarded[] = {
    {AF_INET, "accept_redirects", "0"},    {AF_INET6, "accept_redirects", "0"},    {AF_INET, "send_redirects", "0"},
    {AF_INET, "accept_source_route", "0"}, {AF_INET6, "accept_source_route", "0"}, {AF_INET, "route_localnet", "0"},
    {AF_INET, "proxy_arp", "0"},           {AF_INET, "proxy_arp_pvlan", "0"},      {AF_INET6, "proxy_ndp", "0"},
    {AF_INET, "bc_forwarding", "0"}};
constexpr Switch kAll[] = {{AF_INET, "send_redirects", "0"}, {AF_INET, "route_localnet", "0"},
                           {AF_INET, "proxy_arp", "0"},      {AF_INET6, "proxy_ndp", "0"},
                           {AF_INET, "bc_forwarding", "0"},  {AF_INET, "disable_xfrm", "0"},
                           {AF_INET, "disable_policy", "0"}, {AF_INET6, "disable_policy", "0"}};

Status put(Repairs::Look& look, const Sysctl& wanted) {
    const auto current = net::read_sysctl(wanted.key);
    if (!current && current.error().code() == ENOENT)
        return {};
    const auto thing = wanted.key + " = " + wanted.value; // with its value: what we ourselves set anew is no repair
    if (!current || *current != wanted.value) {
        if (auto ok = look.put(thing, "was " + current.value_or("unreadable")); !ok)
            return ok;
        if (auto ok = net::write_sysctl(wanted.key, wanted.value); !ok)
            return ok;
    }
    look.stands(thing);
    return {};
}

} // namespace

std::vector<Sysctl> desired_sysctls(const Config& config, const NetworkView& network, const std::string& tun) {
    std::vector<Sysctl> out;
    const auto add = [&](const std::string& interface, const auto& switches) {
        for (const auto& one : switches)
            out.push_back({net::interface_sysctl(one.family, interface, one.name), one.value});
    };
    add("all", kAll);
    for (const auto& link : network.links)
        if ((link.flags & IFF_LOOPBACK) == 0)
            add(link.name, kEverywhere);
    for (const auto* list : {&config.lan, &config.uplink})
        for (const auto& name : *list)
            if (network.find(name) != nullptr)
                add(name, kGuarded);
    if (!tun.empty())
        add(tun, kGuarded);
    // A device is no router of ours.
    for (const auto& name : config.lan)
        if (network.find(name) != nullptr)
            out.push_back({net::interface_sysctl(AF_INET6, name, "accept_ra"), "0"});
    // A router stops listening to advertisements (accept_ra 1) unless told otherwise (2).
    for (const auto& name : config.uplink) {
        const auto key = net::interface_sysctl(AF_INET6, name, "accept_ra");
        if (const auto current = net::read_sysctl(key); current && *current == "1")
            out.push_back({key, "2"});
    }
    return out;
}

Status apply_sysctls(const std::vector<Sysctl>& wanted, Repairs& repairs) {
    Status first;
    Repairs::Look look(repairs, Layer::sysctls);
    for (const auto& one : wanted)
        keep_first(first, put(look, one));
    return first;
}

Status no_multicast_routing(const NetworkView& network) {
    for (const auto& link : network.links)
        for (const int family : {AF_INET, AF_INET6}) {
            const auto key = net::interface_sysctl(family, link.name, "mc_forwarding");
            if (const auto current = net::read_sysctl(key); current && *current != "0")
                return fail("multicast is routed from " + link.name +
                            ", past all rules; stop the multicast routing daemon (pimd, smcrouted, mrouted)");
        }
    return {};
}

Status set_forwarding(const std::vector<std::string>& inputs, bool on, Repairs& repairs) {
    const std::string value = on ? "1" : "0";
    Status first;
    Repairs::Look look(repairs, Layer::forwarding);
    for (const auto& name : inputs)
        keep_first(first, put(look, {net::interface_sysctl(AF_INET, name, "forwarding"), value}));
    keep_first(first, put(look, {net::interface_sysctl(AF_INET6, "all", "forwarding"), value}));
    return first;
}

} // namespace penstock::core
