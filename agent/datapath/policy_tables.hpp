// The policy as the datapath takes it: devices, and what devices have in common.
#pragma once

#include "agent/base/ip.hpp"
#include "bpf/penstock_abi.h"

#include <array>
#include <cstdint>
#include <vector>

namespace penstock::datapath {

enum class Direction : std::uint8_t { to, from };          // who begins: the device, or the peer
enum class Peer : std::uint8_t { network, device, group }; // behind a tunnel; on a LAN of this gateway
enum class Require : std::uint8_t { none, tls, dtls };

// What no rule matches is denied; a rule that denies wins over every rule that allows.
struct Rule {
    bool allow = true;
    Direction direction = Direction::to;
    Peer peer = Peer::network;
    std::array<std::uint8_t, 16> address{}; // network: network byte order, IPv4 as ::ffff:a.b.c.d
    unsigned prefix_length = 0;             // network: 0..128 of the 16 bytes; IPv4 from 96 on
    std::uint32_t index = 0;                // device: its slot; group: a number of DeviceEntry::groups
    std::uint8_t proto = 0;                 // IPPROTO_TCP, _UDP, _ICMP, _ICMPV6; 0: these four
    // Destination port (of the device for Direction::from), or ICMP type: host byte order, both included. Not read
    // where proto is 0.
    std::uint16_t port_low = 0, port_high = 0;
    // The rule allows only flows that speak it: TCP whose first data segment of each side begins with a TLS record, UDP
    // whose datagrams begin with a DTLS record. Where several rules allow a packet, one without it is enough.
    Require require = Require::none;
};
inline constexpr std::size_t kMaxRules = PENSTOCK_MAX_RULES; // a block

// What a device may have of the gateway itself on its LAN.
struct LanServices {
    bool arp_nd = true, dhcp = false, dns = false, ntp = false;
};

// What devices have in common.
struct Block {
    std::vector<Rule> rules; // at most kMaxRules
    LanServices lan = {};
    std::uint64_t bytes_per_second = 0; // that each device may send; 0: no limit
    std::uint64_t packets_per_second = 0;
    struct Total {
        std::uint32_t bucket = 0; // below PENSTOCK_MAX_TOTALS; whoever names it shares it
        std::uint64_t bytes_per_second = 0;
    };
    std::vector<Total> totals = {}; // at most PENSTOCK_MAX_GROUPS_PER_DEVICE
};

struct DeviceEntry {
    MacAddress mac;
    std::vector<IpAddress> addresses;
    std::uint32_t slot = 0;                 // index into the device counters
    std::uint32_t block = 0;                // index into PolicyTables::blocks
    std::uint32_t ifindex = 0;              // of the LAN it must be seen on; 0: any
    std::vector<std::uint32_t> groups = {}; // for rules whose peer is a group
    bool learns = false;                    // an address that it claims and nobody has is told (Drop, not_learnt)
};

struct PolicyTables {
    std::vector<DeviceEntry> devices;
    std::vector<Block> blocks;
};

} // namespace penstock::datapath
