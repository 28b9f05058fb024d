// The policy as the kernel holds it. A new one is built beside the one in force and switched to by one store: each
// packet is judged by exactly the old or exactly the new.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/datapath/typed_map.hpp"
#include "bpf/penstock_abi.h"

#include <array>
#include <vector>

namespace penstock::datapath {

// Allows what matches prefix, protocol and port.
struct Rule {
    std::array<std::uint8_t, 16> address{}; // network byte order, IPv4 as ::ffff:a.b.c.d
    unsigned prefix_length = 0;             // 0..128 of the 16 bytes
    std::uint8_t proto = 0;                 // IPPROTO_TCP or IPPROTO_UDP
    std::uint16_t port_low = 0, port_high = 0;
};
inline constexpr std::size_t kMaxRules = PENSTOCK_MAX_RULES; // a block

struct DeviceEntry {
    MacAddress mac;
    std::vector<IpAddress> addresses;
    std::uint32_t slot = 0;  // index into the device counters
    std::uint32_t block = 0; // index into PolicyTables::blocks
};

struct PolicyTables {
    std::vector<DeviceEntry> devices;
    std::vector<std::vector<Rule>> blocks; // at most kMaxRules each
};

class PolicyStore {
public:
    static Result<PolicyStore> make(const Programs& programs);

    // Builds the tables in the half that is not in force. Takes its time: call it off the guard loop. One call at a
    // time.
    Status stage(const PolicyTables& tables);
    // Puts the staged half in force.
    Status commit();
    // Nothing is allowed any more.
    Status lock();
    [[nodiscard]] std::uint32_t generation() const; // 0: no policy

private:
    TypedMap<std::uint32_t, std::uint32_t> gate_;
    Fd device_table_, mac_table_, rule_table_;
    std::uint32_t staged_ = 0;
};

} // namespace penstock::datapath
