// What the packet path counted: drops by reason, traffic by device.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/ip.hpp"
#include "agent/datapath/mapped_array.hpp"
#include "agent/datapath/programs.hpp"
#include "bpf/penstock_abi.h"

#include <string>
#include <utility>
#include <vector>

namespace penstock::datapath {

struct DropCount {
    std::uint8_t reason;     // enum penstock_drop_reason
    std::string name;        // lower case, e.g. "unknown_device"
    std::string description; // for a person
    std::uint64_t count;
};

struct DeviceCounters {
    std::uint64_t out_packets = 0, out_bytes = 0; // device to tunnel
    std::uint64_t in_packets = 0, in_bytes = 0;
    std::uint64_t dropped = 0;
    std::uint64_t evicted_flows = 0; // made room for another while they might still have been in use
    std::uint64_t last_seen_ns = 0;  // CLOCK_MONOTONIC; 0: never
};

class Counters {
public:
    static Result<Counters> make(const Programs& programs);
    // Every reason, in its number's order; zeroes too.
    [[nodiscard]] std::vector<DropCount> drops() const;
    [[nodiscard]] DeviceCounters device(std::uint32_t slot) const;
    // Slots that get a new owner start from nothing, flows included.
    Status assign(const std::vector<std::pair<MacAddress, std::uint32_t>>& newcomers) const;
    // Who has which slot: outlives every process, so that a device keeps its counters and flows over restarts.
    [[nodiscard]] std::vector<std::pair<MacAddress, std::uint32_t>> owners(std::uint32_t capacity) const;

private:
    [[nodiscard]] penstock_device_state* state(std::uint32_t slot) const; // nullptr: no such slot

    Fd drops_;
    OuterMap flows_ipv6_;
    MappedArray device_state_;
};

std::string drop_name(std::uint8_t reason);
std::string drop_description(std::uint8_t reason);

} // namespace penstock::datapath
