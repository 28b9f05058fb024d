// The ring buffer in which the packet path tells of drops.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/datapath/programs.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

struct ring_buffer;

namespace penstock::datapath {

struct Drop {
    std::string reason; // lower case, as in DropCount
    std::string hook;   // "lan_ingress", ...
    MacAddress mac;     // of the source
    IpAddress source, destination;
    std::uint8_t proto = 0;
    std::uint16_t source_port = 0, destination_port = 0; // 0 where the protocol has none
    int ifindex = 0;
    std::optional<std::uint32_t> slot; // of the device, if it is known
};

class DropEvents {
public:
    static Result<DropEvents> make(const Programs& programs, std::function<void(const Drop&)> on_event);
    DropEvents(DropEvents&&) noexcept;
    DropEvents& operator=(DropEvents&&) noexcept;
    ~DropEvents();

    [[nodiscard]] int fd() const; // readable when there is something to read
    void read();                  // calls on_event for some of what is there; never waits

private:
    struct State;
    explicit DropEvents(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace penstock::datapath
