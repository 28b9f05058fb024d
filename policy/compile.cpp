#include "policy/compile.hpp"

#include "policy/window.hpp"

#include <algorithm>
#include <map>
#include <sys/socket.h>

namespace penstock::policy {
namespace {

using Groups = std::vector<std::uint32_t>;

// ICMP of the other family never comes from a prefix of this one.
bool can_match(const Peer& peer, Proto proto) {
    const auto never = peer.prefix.address.family == AF_INET ? Proto::icmpv6 : Proto::icmp;
    return peer.kind != Peer::Kind::prefix || proto != never;
}

void add_rules(const Policy& policy, std::uint32_t index, bool allow, RuleBlock& out) {
    const Service& service = policy.services[index];
    for (const Peer& peer : service.peers)
        for (const PortRange& ports : service.ports) {
            if (!can_match(peer, ports.proto))
                continue;
            Rule rule{.allow = allow,
                      .require = allow ? service.require : Require::none,
                      .direction = service.direction,
                      .peer = peer.kind,
                      .index = peer.index,
                      .proto = ports.proto,
                      .port_lo = ports.lo,
                      .port_hi = ports.hi,
                      .service = index};
            if (peer.kind == Peer::Kind::prefix) {
                rule.address = peer.prefix.address.mapped();
                rule.prefix_length =
                    static_cast<std::uint8_t>((peer.prefix.address.family == AF_INET ? 96 : 0) + peer.prefix.length);
            }
            out.push_back(rule);
        }
}

void take_smaller(std::uint64_t& rate, std::uint64_t other) {
    if (other != 0 && (rate == 0 || other < rate))
        rate = other;
}

// The word of a group that says something, else the policy's; of several groups one that says yes is enough.
bool lan_service(const Policy& policy, const Groups& groups, std::optional<bool> LanChoice::* service, bool otherwise) {
    std::optional<bool> said;
    for (const auto index : groups)
        if (const auto word = policy.groups[index].lan.*service)
            said = said.value_or(false) || *word;
    return said.value_or((policy.lan.*service).value_or(otherwise));
}

} // namespace

Block compile_block(const Policy& policy, const Groups& groups) {
    Block block;
    for (const auto index : groups) {
        const Group& group = policy.groups[index];
        for (const auto service : group.deny)
            add_rules(policy, service, false, block.rules);
        for (const auto service : group.allow)
            add_rules(policy, service, true, block.rules);
        take_smaller(block.rate, group.rate);
        take_smaller(block.packet_rate, group.packet_rate);
        if (group.total_rate != 0)
            block.totals.push_back({index, group.total_rate});
    }
    // The service is the last member: of equal rules the lowest service comes first and stays.
    std::ranges::sort(block.rules);
    const auto same = [](Rule a, const Rule& b) {
        a.service = b.service;
        return a == b;
    };
    block.rules.erase(std::unique(block.rules.begin(), block.rules.end(), same), block.rules.end());
    const LanServices usual;
    block.lan = {.arp_nd = lan_service(policy, groups, &LanChoice::arp_nd, usual.arp_nd),
                 .dhcp = lan_service(policy, groups, &LanChoice::dhcp, usual.dhcp),
                 .dns = lan_service(policy, groups, &LanChoice::dns, usual.dns),
                 .ntp = lan_service(policy, groups, &LanChoice::ntp, usual.ntp)};
    return block;
}

CompiledPolicy compile(const Policy& policy, Time at) {
    CompiledPolicy out;
    std::vector<bool> open(policy.groups.size(), true);
    for (std::size_t i = 0; i < policy.groups.size(); i++) {
        const auto& when = policy.groups[i].when;
        if (!when)
            continue;
        open[i] = is_open(*when, at);
        if (const auto change = next_change(*when, at); change && (!out.next_change || *change < *out.next_change))
            out.next_change = change;
    }

    std::map<Block, std::uint32_t> blocks;
    std::map<Groups, std::uint32_t> block_of; // all groups of a device, whether in force or not
    out.devices.reserve(policy.devices.size());
    for (const Device& device : policy.devices) {
        auto known = block_of.find(device.groups);
        if (known == block_of.end()) {
            Groups in_force;
            std::ranges::copy_if(device.groups, std::back_inserter(in_force), [&](auto group) { return open[group]; });
            Block block = compile_block(policy, in_force);
            const auto [entry, added] = blocks.try_emplace(block, static_cast<std::uint32_t>(out.blocks.size()));
            if (added)
                out.blocks.push_back(std::move(block));
            known = block_of.emplace(device.groups, entry->second).first;
        }
        out.devices.push_back({device.name, device.mac, device.addresses, device.interface, device.groups,
                               known->second, device.learns()});
    }
    return out;
}

} // namespace penstock::policy
