// The flows of the devices as this process sees them: makes room for IPv6, takes flows away. The packet path may write
// at the same time.
#pragma once

#include "agent/datapath/mapped_array.hpp"
#include "agent/datapath/programs.hpp"
#include "bpf/penstock_abi.h"

#include <chrono>

namespace penstock::datapath {

class FlowMemory {
public:
    static Result<FlowMemory> make(const Programs& programs);

    // Room for the IPv6 flows of this many slots. Flows that are there stay; one that begins at this moment may be
    // lost, and is judged anew by its next packet.
    Status reserve_ipv6(std::uint32_t slots);
    // Forgets the flows of one address of a device.
    void clear_address(std::uint32_t slot, bool ipv4, std::uint8_t id);
    // Whether one of them passed a packet so lately, to the next 9 s.
    [[nodiscard]] bool used_within(std::uint32_t slot, bool ipv4, std::uint8_t id, std::chrono::seconds age) const;

private:
    // Shows `look` the tag and the meta word of each flow of a slot.
    template <class Look> void each_flow(std::uint32_t slot, bool ipv4, Look look) const;

    std::uint32_t flows_ = 0;
    OuterMap outer_ipv6_;
    MappedArray ipv4_, ipv6_;
};

} // namespace penstock::datapath
