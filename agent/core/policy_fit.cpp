#include "agent/core/policy_fit.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace penstock::core {
namespace {

constexpr std::uint16_t kDns = 53;

std::string names(const std::set<IpPrefix>& networks) {
    std::string out;
    for (const auto& network : networks)
        out += (out.empty() ? "" : ", ") + network.str();
    return out;
}

// What the gateway's resolver may ask over an uplink is in clear, and a device would say what.
std::string clear_way_for_dns(const Config& config) {
    if (config.host_egress_open)
        return "[uplink] host_egress = \"open\"";
    for (const auto& essential : config.essentials)
        if (!essential.local && std::ranges::find(essential.ports, kDns) != essential.ports.end())
            return "[[essential]] " + essential.name;
    return "";
}

// Why no device behind this gateway can have the address, in words that follow "address X is "; empty: one can.
std::string unfit(const IpAddress& address, const Config& config, const std::set<IpPrefix>& networks,
                  const std::vector<net::Address>& own) {
    if (std::ranges::none_of(networks, [&](const IpPrefix& network) { return network.contains(address); }))
        return "in none of the tunnels' local_networks (" + names(networks) + ") in " + config.file.string() +
               "; correct the one or the other";
    if (std::ranges::find(own, address, &net::Address::address) != own.end())
        return "this gateway's own; give the device another";
    if (std::ranges::find(config.tunnels, address, &TunnelConfig::peer) != config.tunnels.end())
        return "the peer of a tunnel; give the device another";
    return "";
}

// A network has addresses that are no host's: the first (RFC 1122, 3.2.1.3; RFC 4291, 2.6.1), and in IPv4 the last.
// Not where it has two in all (RFC 3021, RFC 6164).
bool is_no_host(const IpAddress& address, unsigned prefix_length) {
    if (prefix_length + 1 >= address.bits())
        return false;
    if (IpPrefix::around(address, prefix_length).address == address)
        return true;
    std::uint32_t be = 0;
    std::memcpy(&be, address.bytes.data(), sizeof be);
    return address.family == AF_INET && (ntohl(be) | ~(0xffffffffU >> prefix_length)) == 0xffffffffU;
}

Status check_addresses(const policy::Policy& policy, const policy::CompiledPolicy& compiled, const Config& config,
                       const std::vector<net::Address>& own) {
    const auto networks = config.device_networks();
    for (std::size_t i = 0; i < compiled.devices.size(); i++)
        for (const auto& address : compiled.devices[i].addresses)
            if (const auto why = unfit(address, config, networks, own); !why.empty())
                return fail(policy.cite(policy.devices[i].at) + ": devices." + compiled.devices[i].name + ": address " +
                            address.str() + " is " + why);
    return {};
}

} // namespace

Status check_fit(const policy::Policy& policy, const policy::CompiledPolicy& compiled, const Config& config,
                 const std::vector<net::Address>& own) {
    if (compiled.devices.size() > config.device_capacity)
        return fail("the policy has " + std::to_string(compiled.devices.size()) + " devices, but [policy] devices in " +
                    config.file.string() + " allows " + std::to_string(config.device_capacity) +
                    "; raise it and restart");
    const auto way = clear_way_for_dns(config);
    if (!way.empty() && std::ranges::any_of(compiled.blocks, [](const policy::Block& block) { return block.lan.dns; }))
        return fail("the policy lets devices ask the gateway's resolver (lan: { dns: on }), and " + way + " in " +
                    config.file.string() +
                    " lets it ask in clear over an uplink; take one of them away, and give the resolver an upstream "
                    "behind the tunnel");
    return check_addresses(policy, compiled, config, own);
}

Status check_claim(const IpAddress& address, int ifindex, const Config& config, const std::vector<net::Address>& own) {
    if (const auto why = unfit(address, config, config.device_networks(), own); !why.empty())
        return fail("it is " + why);
    for (const auto& lan : own)
        if (lan.ifindex == ifindex && lan.scope == RT_SCOPE_UNIVERSE &&
            IpPrefix::around(lan.address, lan.prefix_length).contains(address)) {
            if (is_no_host(address, lan.prefix_length))
                return fail("it is no host's: the network's own, or its broadcast address");
            return {};
        }
    return fail("it is in no network of the LAN on which the device is");
}

} // namespace penstock::core
