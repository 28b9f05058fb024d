// A Policy at one instant as flat structs, in a fixed order, ready to become map values of the datapath.
#pragma once

#include "policy/model.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock::policy {

// One service's peer with one of its port ranges. What no rule matches is denied.
struct Rule {
    bool allow = false; // a rule that denies wins over every rule that allows; it comes first in its block
    // always none where allow is false. Of the rules that allow, those that require nothing come first: the first
    // rule that matches says what the flow must speak.
    Require require = Require::none;
    Direction direction = Direction::to;
    Peer::Kind peer = Peer::Kind::prefix;
    std::array<std::uint8_t, 16> address{}; // peer prefix: network byte order, IPv4 as ::ffff:a.b.c.d
    std::uint8_t prefix_length = 0;         // peer prefix: 0..128 of the 16 bytes
    std::uint32_t index = 0;                // peer group: of Policy::groups; peer device: of CompiledPolicy::devices
    Proto proto = Proto::tcp;               // any: TCP, UDP, ICMP and ICMPv6
    std::uint16_t port_lo = 0;              // host byte order, both ends included; ICMP: the type
    std::uint16_t port_hi = 0;
    std::uint32_t service = 0; // index of Policy::services, for explanations
    auto operator<=>(const Rule&) const = default;
};

using RuleBlock = std::vector<Rule>; // sorted, at most kMaxRulesPerDevice; may be empty: nothing is allowed

struct LanServices { // of the gateway, on the device's own LAN
    bool arp_nd = true, dhcp = false, dns = false, ntp = false;
    auto operator<=>(const LanServices&) const = default;
};

// What devices of the same groups have in common.
struct Block {
    RuleBlock rules;
    LanServices lan;
    std::uint64_t rate = 0;        // bytes a second of each device; 0: no limit
    std::uint64_t packet_rate = 0; // packets a second of each device
    struct Total {
        std::uint32_t group = 0; // index of Policy::groups
        std::uint64_t rate = 0;  // bytes a second of all its devices together
        auto operator<=>(const Total&) const = default;
    };
    std::vector<Total> totals; // each holds
    auto operator<=>(const Block&) const = default;
};

struct CompiledDevice {
    std::string name;
    MacAddress mac;
    std::vector<IpAddress> addresses;  // where they are learnt: none here, the gateway adds them
    std::string interface;             // empty: any LAN
    std::vector<std::uint32_t> groups; // all that it is in, for rules whose peer is a group; windows do not matter here
    std::uint32_t block = 0;           // index of CompiledPolicy::blocks
    bool learns = false;
    bool operator==(const CompiledDevice&) const = default;
};

struct CompiledPolicy {
    std::vector<CompiledDevice> devices; // in the order of Policy::devices
    std::vector<Block> blocks;           // no two alike, in the order of the first device that needs them
    std::optional<Time> next_change;     // the first instant after `at` at which a window opens or closes
    bool operator==(const CompiledPolicy&) const = default;
};

// What is in force at that instant. Cannot fail: the readers refused what does not fit.
CompiledPolicy compile(const Policy& policy, Time at);

// The block of a device in these groups, of which those that are in force are named.
Block compile_block(const Policy& policy, const std::vector<std::uint32_t>& groups);

} // namespace penstock::policy
