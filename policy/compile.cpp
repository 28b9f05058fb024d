#include "policy/compile.hpp"

#include <algorithm>
#include <map>
#include <sys/socket.h>

namespace penstock::policy {

RuleBlock compile_group(const Policy& policy, const Group& group) {
    RuleBlock block;
    for (const auto index : group.allow)
        for (const IpPrefix& prefix : policy.services[index].to)
            for (const PortRange& ports : policy.services[index].ports) {
                const unsigned before = prefix.address.family == AF_INET ? 96 : 0;
                block.push_back({prefix.address.mapped(), static_cast<std::uint8_t>(before + prefix.length),
                                 ports.proto, ports.lo, ports.hi, index});
            }
    // The service is the last member: of equal rules the lowest service comes first and stays.
    std::ranges::sort(block);
    const auto same = [](Rule a, const Rule& b) {
        a.service = b.service;
        return a == b;
    };
    block.erase(std::unique(block.begin(), block.end(), same), block.end());
    return block;
}

CompiledPolicy compile(const Policy& policy) {
    CompiledPolicy out;
    std::map<RuleBlock, std::uint32_t> known;
    std::vector<std::uint32_t> block_of_group;
    for (const Group& group : policy.groups) {
        RuleBlock block = compile_group(policy, group);
        const auto [entry, added] = known.try_emplace(block, static_cast<std::uint32_t>(out.blocks.size()));
        if (added)
            out.blocks.push_back(std::move(block));
        block_of_group.push_back(entry->second);
    }
    out.devices.reserve(policy.devices.size());
    for (const Device& device : policy.devices)
        out.devices.push_back({device.name, device.mac, device.addresses, block_of_group[device.group]});
    return out;
}

} // namespace penstock::policy
