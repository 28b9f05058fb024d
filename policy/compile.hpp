// A Policy as flat structs, in a fixed order, ready to become map values of the datapath.
#pragma once

#include "policy/model.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace penstock::policy {

// Allows what matches prefix, protocol and port. A device may send what any one rule of its block allows.
struct Rule {
    std::array<std::uint8_t, 16> address{}; // network byte order, IPv4 as ::ffff:a.b.c.d
    std::uint8_t prefix_length = 0;         // 0..128 of the 16 bytes
    Proto proto = Proto::tcp;
    std::uint16_t port_lo = 0; // host byte order, both ends included
    std::uint16_t port_hi = 0;
    std::uint32_t service = 0; // index of Policy::services, for explanations
    auto operator<=>(const Rule&) const = default;
};

using RuleBlock = std::vector<Rule>; // at most kMaxRulesPerDevice; may be empty: nothing is allowed

struct CompiledDevice {
    std::string name;
    MacAddress mac;
    std::vector<IpAddress> addresses;
    std::uint32_t block = 0; // index of CompiledPolicy::blocks
    bool operator==(const CompiledDevice&) const = default;
};

struct CompiledPolicy {
    std::vector<CompiledDevice> devices; // in the order of Policy::devices
    std::vector<RuleBlock> blocks;       // no two alike, in the order of the first group that needs them
    bool operator==(const CompiledPolicy&) const = default;
};

// Cannot fail: the readers refused what does not fit.
CompiledPolicy compile(const Policy& policy);

// The rules of one group, sorted, none twice: of services that allow the same, the first by name is kept.
RuleBlock compile_group(const Policy& policy, const Group& group);

} // namespace penstock::policy
