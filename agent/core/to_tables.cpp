#include "agent/core/to_tables.hpp"

#include "policy/limits.hpp"

namespace penstock::core {
namespace {

static_assert(policy::kMaxGroups.value <= PENSTOCK_MAX_TOTALS, "each group has a bucket of its own");
static_assert(policy::kMaxRulesPerDevice.value <= datapath::kMaxRules, "a device's rules fit one block");

datapath::Peer peer_of(policy::Peer::Kind kind) {
    switch (kind) {
    case policy::Peer::Kind::group:
        return datapath::Peer::group;
    case policy::Peer::Kind::device:
        return datapath::Peer::device;
    case policy::Peer::Kind::prefix:
        break;
    }
    return datapath::Peer::network;
}

datapath::Require require_of(policy::Require require) {
    switch (require) {
    case policy::Require::tls:
        return datapath::Require::tls;
    case policy::Require::dtls:
        return datapath::Require::dtls;
    case policy::Require::none:
        break;
    }
    return datapath::Require::none;
}

datapath::Block block_of(const policy::Block& block, const std::vector<std::uint32_t>& slots) {
    datapath::Block out{
        .rules = {},
        .lan = {.arp_nd = block.lan.arp_nd, .dhcp = block.lan.dhcp, .dns = block.lan.dns, .ntp = block.lan.ntp},
        .bytes_per_second = block.rate,
        .packets_per_second = block.packet_rate};
    for (const auto& total : block.totals)
        out.totals.push_back({.bucket = total.group, .bytes_per_second = total.rate});
    out.rules.reserve(block.rules.size());
    for (const auto& rule : block.rules)
        out.rules.push_back(
            {.allow = rule.allow,
             .direction = rule.direction == policy::Direction::to ? datapath::Direction::to : datapath::Direction::from,
             .peer = peer_of(rule.peer),
             .address = rule.address,
             .prefix_length = rule.prefix_length,
             .index = rule.peer == policy::Peer::Kind::device ? slots[rule.index] : rule.index,
             .proto = static_cast<std::uint8_t>(rule.proto),
             .port_low = rule.port_lo,
             .port_high = rule.port_hi,
             .require = require_of(rule.require)});
    return out;
}

} // namespace

Interfaces interfaces_of(const policy::Policy& policy, const std::vector<net::Link>& links) {
    Interfaces out;
    for (const auto& device : policy.devices)
        if (!device.interface.empty())
            out.emplace(device.interface, kNoInterface);
    for (const auto& link : links)
        if (const auto found = out.find(link.name); found != out.end())
            found->second = static_cast<std::uint32_t>(link.index);
    return out;
}

datapath::PolicyTables to_tables(const policy::CompiledPolicy& compiled, const std::vector<std::uint32_t>& slots,
                                 const Interfaces& interfaces) {
    datapath::PolicyTables out;
    out.devices.reserve(compiled.devices.size());
    for (std::size_t i = 0; i < compiled.devices.size(); i++) {
        const auto& device = compiled.devices[i];
        out.devices.push_back({.mac = device.mac,
                               .addresses = device.addresses,
                               .slot = slots[i],
                               .block = device.block,
                               .ifindex = device.interface.empty() ? 0 : interfaces.at(device.interface),
                               .groups = device.groups,
                               .learns = device.learns});
    }
    out.blocks.reserve(compiled.blocks.size());
    for (const auto& block : compiled.blocks)
        out.blocks.push_back(block_of(block, slots));
    return out;
}

} // namespace penstock::core
