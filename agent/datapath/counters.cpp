#include "agent/datapath/counters.hpp"

#include "bpf/penstock_abi.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cctype>
#include <cstring>

namespace penstock::datapath {
namespace {

struct Reason {
    const char* name;
    const char* text;
};

constexpr Reason kReasons[] = {
#define PENSTOCK_X(number, name, text) {#name, text},
    PENSTOCK_DROP_REASONS(PENSTOCK_X)
#undef PENSTOCK_X
};

} // namespace

std::string drop_name(std::uint8_t reason) {
    if (reason >= std::size(kReasons))
        return "reason_" + std::to_string(reason);
    std::string name = kReasons[reason].name;
    for (char& c : name)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return name;
}

std::string drop_description(std::uint8_t reason) {
    return reason < std::size(kReasons) ? kReasons[reason].text : "unknown";
}

Result<Counters> Counters::make(const Programs& programs) {
    Counters out;
    auto drops = programs.map_fd("drops");
    auto state = programs.map_fd("device_state");
    if (!drops)
        return tl::unexpected(drops.error());
    if (!state)
        return tl::unexpected(state.error());
    out.drops_ = std::move(*drops);
    out.device_state_ = std::move(*state);
    return out;
}

std::vector<DropCount> Counters::drops() const {
    std::vector<DropCount> out;
    std::vector<penstock_drop_count> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    for (std::uint32_t reason = 1; reason < PENSTOCK_DROP_REASON_MAX; reason++) {
        std::uint64_t sum = 0;
        if (bpf_map_lookup_elem(drops_.get(), &reason, per_cpu.data()) == 0)
            for (const auto& one : per_cpu)
                sum += one.count;
        const auto number = static_cast<std::uint8_t>(reason);
        out.push_back({number, drop_name(number), drop_description(number), sum});
    }
    return out;
}

DeviceCounters Counters::device(std::uint32_t slot) const {
    penstock_device_state state;
    if (bpf_map_lookup_elem(device_state_.get(), &slot, &state) != 0)
        return {};
    return {.out_packets = state.out_packets,
            .out_bytes = state.out_bytes,
            .in_packets = state.in_packets,
            .in_bytes = state.in_bytes,
            .dropped = state.dropped,
            .last_seen_ns = state.last_seen_ns};
}

Status Counters::assign(std::uint32_t slot, const MacAddress& owner) const {
    penstock_device_state state{};
    std::memcpy(state.owner, owner.bytes.data(), sizeof state.owner);
    state.owned = 1;
    if (bpf_map_update_elem(device_state_.get(), &slot, &state, BPF_ANY) != 0)
        return fail_errno("cannot give slot " + std::to_string(slot) + " to " + owner.str());
    return {};
}

std::vector<std::pair<MacAddress, std::uint32_t>> Counters::owners(std::uint32_t capacity) const {
    std::vector<std::pair<MacAddress, std::uint32_t>> out;
    penstock_device_state state;
    for (std::uint32_t slot = 0; slot < capacity; slot++) {
        if (bpf_map_lookup_elem(device_state_.get(), &slot, &state) != 0 || !state.owned)
            continue;
        MacAddress owner;
        std::memcpy(owner.bytes.data(), state.owner, sizeof state.owner);
        out.emplace_back(owner, slot);
    }
    return out;
}

} // namespace penstock::datapath
