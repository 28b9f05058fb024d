// The policy as the kernel holds it. A new one is built beside the one in force and switched to by one store: each
// packet is judged by exactly the old or exactly the new.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/datapath/typed_map.hpp"
#include "bpf/penstock_abi.h"

#include <vector>

namespace penstock::datapath {

struct DeviceEntry {
    MacAddress mac;
    std::vector<IpAddress> addresses;
    std::uint32_t slot = 0;  // index into the device counters
    std::uint32_t block = 0; // index into PolicyTables::blocks
};

struct PolicyTables {
    std::vector<DeviceEntry> devices;
    std::vector<penstock_rule_block> blocks;
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
    // MAC -> slot of the policy in force, to keep counters and flows with their device over policies and restarts.
    [[nodiscard]] std::vector<std::pair<MacAddress, std::uint32_t>> slots() const;

private:
    TypedMap<std::uint32_t, penstock_gate> gate_;
    Fd device_table_, mac_table_, rule_table_;
    std::uint32_t staged_ = 0;
};

} // namespace penstock::datapath
