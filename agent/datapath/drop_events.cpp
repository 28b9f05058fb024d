#include "agent/datapath/drop_events.hpp"

#include "agent/datapath/counters.hpp"
#include "agent/datapath/gate.hpp"
#include "bpf/penstock_abi.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>

namespace penstock::datapath {
namespace {

const char* event_hook(std::uint32_t hook) {
    if (hook == PENSTOCK_HOOK_EARLY_DROP)
        return kEarlyDrop;
    return hook < std::size(kHooks) ? hook_name(kHooks[hook]) : "";
}

Drop read_event(const penstock_drop_event& event) {
    MacAddress mac;
    std::memcpy(mac.bytes.data(), event.mac, sizeof event.mac);
    return {.reason = drop_name(event.reason),
            .hook = event_hook(event.hook),
            .mac = mac,
            .source = from_abi(event.source),
            .destination = from_abi(event.destination),
            .proto = event.proto,
            .source_port = event.source_port,
            .destination_port = event.destination_port,
            .ifindex = static_cast<int>(event.ifindex),
            .slot = event.known_slot ? std::optional(event.slot) : std::nullopt};
}

} // namespace

constexpr int kAtOnce = 256; // then others have their turn: devices may tell faster than this process listens

struct DropEvents::State {
    Fd map;
    int read = 0;
    ring_buffer* ring = nullptr;
    std::function<void(const Drop&)> on_event;
    ~State() { ring_buffer__free(ring); }
};

DropEvents::DropEvents(std::unique_ptr<State> state) : state_(std::move(state)) {}
DropEvents::DropEvents(DropEvents&&) noexcept = default;
DropEvents& DropEvents::operator=(DropEvents&&) noexcept = default;
DropEvents::~DropEvents() = default;

Result<DropEvents> DropEvents::make(const Programs& programs, std::function<void(const Drop&)> on_event) {
    auto map = programs.map_fd("events");
    if (!map)
        return tl::unexpected(map.error());
    auto state = std::make_unique<State>();
    state->map = std::move(*map);
    state->on_event = std::move(on_event);
    const auto deliver = [](void* context, void* data, std::size_t size) noexcept -> int {
        auto& state = *static_cast<State*>(context);
        if (size >= sizeof(penstock_drop_event))
            state.on_event(read_event(*static_cast<const penstock_drop_event*>(data)));
        return ++state.read < kAtOnce ? 0 : -ECANCELED; // ends ring_buffer__consume() behind this event
    };
    state->ring = ring_buffer__new(state->map.get(), deliver, state.get(), nullptr);
    if (state->ring == nullptr)
        return fail_errno("cannot read the BPF ring buffer");
    return DropEvents(std::move(state));
}

int DropEvents::fd() const { return ring_buffer__epoll_fd(state_->ring); }

void DropEvents::read() {
    state_->read = 0;
    ring_buffer__consume(state_->ring);
}

} // namespace penstock::datapath
