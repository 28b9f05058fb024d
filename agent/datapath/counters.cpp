#include "agent/datapath/counters.hpp"

#include "bpf/penstock_abi.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
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
    auto flows_ipv6 = programs.outer_map("flows_ipv6");
    for (const auto* fd : {&drops, &state})
        if (!*fd)
            return tl::unexpected(fd->error());
    if (!flows_ipv6)
        return tl::unexpected(flows_ipv6.error());
    auto mapped = MappedArray::open(std::move(*state));
    if (!mapped)
        return tl::unexpected(mapped.error());
    out.drops_ = std::move(*drops);
    out.device_state_ = std::move(*mapped);
    out.flows_ipv6_ = std::move(*flows_ipv6);
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

penstock_device_state* Counters::state(std::uint32_t slot) const {
    return slot < device_state_.entries() ? reinterpret_cast<penstock_device_state*>(device_state_.at(slot)) : nullptr;
}

DeviceCounters Counters::device(std::uint32_t slot) const {
    const volatile auto* const state = this->state(slot);
    if (state == nullptr)
        return {};
    return {.out_packets = state->out_packets,
            .out_bytes = state->out_bytes,
            .in_packets = state->in_packets,
            .in_bytes = state->in_bytes,
            .dropped = state->dropped,
            .evicted_flows = state->evicted,
            .last_seen_ns = state->last_seen_ns};
}

Status Counters::assign(const std::vector<std::pair<MacAddress, std::uint32_t>>& newcomers) const {
    if (newcomers.empty())
        return {};
    auto ipv6 = flows_ipv6_.open(0); // all at once: it may be hundreds of megabytes
    if (!ipv6)
        return tl::unexpected(std::move(ipv6.error()).with("cannot give slots to devices"));
    for (const auto& [owner, slot] : newcomers) {
        auto* const state = this->state(slot);
        if (state == nullptr)
            return fail("cannot give slot " + std::to_string(slot) + " to " + owner.str() + ": there are " +
                        std::to_string(device_state_.entries()));
        std::memset(device_state_.at(slot), 0, device_state_.size() / device_state_.entries());
        if (slot < ipv6->entries())
            std::memset(ipv6->at(slot), 0, ipv6->size() / ipv6->entries());
        std::memcpy(state->owner, owner.bytes.data(), sizeof state->owner);
        state->owned = 1;
    }
    return {};
}

std::vector<std::pair<MacAddress, std::uint32_t>> Counters::owners(std::uint32_t capacity) const {
    std::vector<std::pair<MacAddress, std::uint32_t>> out;
    for (std::uint32_t slot = 0; slot < std::min(capacity, device_state_.entries()); slot++) {
        const auto* const state = this->state(slot);
        if (state->owned == 0)
            continue;
        MacAddress owner;
        std::memcpy(owner.bytes.data(), state->owner, sizeof state->owner);
        out.emplace_back(owner, slot);
    }
    return out;
}

} // namespace penstock::datapath
