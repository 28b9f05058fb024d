#include "agent/datapath/flow_memory.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>

namespace penstock::datapath {
namespace {

constexpr std::uint8_t kFreed = 0xff; // TAG_FREED of bpf/lib/flow.h

std::uint64_t address_of(std::uint64_t meta) { return meta >> PENSTOCK_FLOW_ADDRESS & 0xf; }

} // namespace

Result<FlowMemory> FlowMemory::make(const Programs& programs) {
    FlowMemory out;
    auto state = programs.map_fd("device_state");
    auto outer = programs.outer_map("flows_ipv6");
    if (!state)
        return tl::unexpected(state.error());
    if (!outer)
        return tl::unexpected(outer.error());
    auto ipv4 = MappedArray::open(std::move(*state));
    if (!ipv4)
        return tl::unexpected(std::move(ipv4.error()).with("flows of devices"));
    auto ipv6 = outer->open(0);
    if (!ipv6)
        return tl::unexpected(std::move(ipv6.error()).with("IPv6 flows of devices"));
    out.flows_ = programs.flows_per_device();
    out.outer_ipv6_ = std::move(*outer);
    out.outer_ipv6_.drop_orphans();
    out.ipv4_ = std::move(*ipv4);
    out.ipv6_ = std::move(*ipv6);
    return out;
}

Status FlowMemory::reserve_ipv6(std::uint32_t slots) {
    if (slots <= ipv6_.entries())
        return {};
    // Room to grow into, but not beyond the slots there are.
    const auto wanted = std::min(std::max(slots, ipv6_.entries() * 2), std::max(slots, ipv4_.entries()));
    const auto value = static_cast<std::uint32_t>(sizeof(penstock_flows6) + flows_ * (1 + sizeof(penstock_flow6)));
    auto larger = MappedArray::make("flows_ipv6", value, wanted);
    if (!larger)
        return tl::unexpected(larger.error());
    if (ipv6_.entries() != 0)
        std::memcpy(larger->at(0), ipv6_.at(0), ipv6_.size());
    if (auto ok = outer_ipv6_.put(0, *larger); !ok)
        return tl::unexpected(std::move(ok.error()).with("cannot make room for IPv6 flows"));
    ipv6_ = std::move(*larger);
    return {};
}

template <class Look> void FlowMemory::each_flow(std::uint32_t slot, bool ipv4, Look look) const {
    const auto walk = [&]<class Flow>(std::byte* tags, const Flow*) {
        auto* const flows = reinterpret_cast<Flow*>(tags + flows_);
        for (std::uint32_t i = 0; i < flows_; i++)
            look(std::atomic_ref(reinterpret_cast<std::uint8_t&>(tags[i])), std::atomic_ref(flows[i].meta));
    };
    if (ipv4 && slot < ipv4_.entries())
        walk(ipv4_.at(slot) + sizeof(penstock_device_state), static_cast<const penstock_flow4*>(nullptr));
    else if (!ipv4 && slot < ipv6_.entries())
        walk(ipv6_.at(slot) + sizeof(penstock_flows6), static_cast<const penstock_flow6*>(nullptr));
}

// The tag first: who still sees the flow by it finds it empty.
void FlowMemory::clear_address(std::uint32_t slot, bool ipv4, std::uint8_t id) {
    each_flow(slot, ipv4, [&](auto tag, auto meta) {
        auto seen = meta.load();
        if (seen == 0 || address_of(seen) != id)
            return;
        tag.store(kFreed);
        meta.compare_exchange_strong(seen, 0);
    });
}

bool FlowMemory::used_within(std::uint32_t slot, bool ipv4, std::uint8_t id, std::chrono::seconds age) const {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto units = [](std::chrono::nanoseconds time) { return static_cast<std::uint64_t>(time.count()) >> 33; };
    const auto today = units(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
    bool used = false;
    each_flow(slot, ipv4, [&](auto, auto meta) {
        const auto seen = meta.load();
        const auto ago = (today - (seen >> PENSTOCK_FLOW_SEEN)) & 0x1fffff;
        const bool just_now = ago > 0x1ffff0; // after the clock was read
        used |= seen != 0 && address_of(seen) == id && (just_now || ago <= units(age) + 1);
    });
    return used;
}

} // namespace penstock::datapath
