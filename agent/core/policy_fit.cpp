#include "agent/core/policy_fit.hpp"

#include <algorithm>

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

Status check_addresses(const policy::Policy& policy, const policy::CompiledPolicy& compiled, const Config& config,
                       const std::vector<net::Address>& own) {
    const auto networks = config.device_networks();
    for (std::size_t i = 0; i < compiled.devices.size(); i++)
        for (const auto& address : compiled.devices[i].addresses) {
            const auto who = [&] {
                return policy.cite(policy.devices[i].at) + ": devices." + compiled.devices[i].name + ": address " +
                       address.str() + " is ";
            };
            if (std::ranges::none_of(networks, [&](const IpPrefix& network) { return network.contains(address); }))
                return fail(who() + "in none of the tunnels' local_networks (" + names(networks) + ") in " +
                            config.file.string() + "; correct the one or the other");
            if (std::ranges::find(own, address, &net::Address::address) != own.end())
                return fail(who() + "this gateway's own; give the device another");
            if (std::ranges::find(config.tunnels, address, &TunnelConfig::peer) != config.tunnels.end())
                return fail(who() + "the peer of a tunnel; give the device another");
        }
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

} // namespace penstock::core
