// The policy as the kernel holds it. A new one is built beside the one in force and switched to by one store: each
// packet is judged by exactly the old or exactly the new.
#pragma once

#include "agent/datapath/flow_memory.hpp"
#include "agent/datapath/policy_layout.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/datapath/typed_map.hpp"

#include <chrono>
#include <vector>

namespace penstock::datapath {

class PolicyStore {
public:
    static Result<PolicyStore> make(const Programs& programs);

    // Builds the tables in the half that is not in force. Takes its time: call it off the guard loop. One call at a
    // time.
    Status stage(const PolicyTables& tables);
    // Puts the staged half in force.
    Status commit();
    // Afterwards, when nothing waits: forgets flows of addresses that devices lost, and frees the policy before.
    Status retire();
    // Nothing is allowed any more.
    Status lock();
    [[nodiscard]] std::uint32_t generation() const; // 0: no policy
    // Of the policy in force, sorted.
    [[nodiscard]] const std::vector<AddressId>& addresses() const { return in_force_; }
    // Whether a device's flow from or to this address passed a packet so lately.
    [[nodiscard]] bool used_within(const IpAddress& address, std::chrono::seconds age) const;

private:
    TypedMap<std::uint32_t, std::uint32_t> gate_;
    OuterMap policy_;
    FlowMemory flows_;
    std::vector<AddressId> in_force_, staged_addresses_; // sorted
    std::vector<AddressId> lost_;                        // by the last commit
    std::uint32_t staged_ = 0;
    bool retired_ = true;
};

} // namespace penstock::datapath
