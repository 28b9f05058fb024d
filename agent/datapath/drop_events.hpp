// The ring buffer in which the packet path tells of drops.
#pragma once

#include "agent/datapath/programs.hpp"
#include "bpf/penstock_abi.h"

#include <functional>
#include <memory>

struct ring_buffer;

namespace penstock::datapath {

class DropEvents {
public:
    static Result<DropEvents> make(const Programs& programs, std::function<void(const penstock_drop_event&)> on_event);
    DropEvents(DropEvents&&) noexcept;
    DropEvents& operator=(DropEvents&&) noexcept;
    ~DropEvents();

    [[nodiscard]] int fd() const; // readable when there is something to read
    void read();                  // calls on_event for what is there; never waits

private:
    struct State;
    explicit DropEvents(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace penstock::datapath
