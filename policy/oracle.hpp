// What the policy says about one packet: slow, obvious, and independent of the compiled form it is the judge of.
#pragma once

#include "policy/model.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::policy {

// A packet that a device starts a flow with.
struct Packet {
    MacAddress mac;
    IpAddress source;
    IpAddress destination;
    std::uint8_t proto = 0; // IANA number
    std::uint16_t port = 0; // destination port, host byte order; 0 where the protocol has none
};

enum class Reason { allowed, unknown_device, spoofed_address, not_allowed };

struct Verdict {
    bool allow = false;
    Reason reason = Reason::unknown_device;
    std::string device;   // name, empty if unknown
    std::string service;  // name of what allowed it, else empty
    std::string citation; // a sentence for people that names file, line, fleet and version
};

std::string_view reason_name(Reason reason); // "allowed", "unknown_device" ...

Verdict judge(const Policy& policy, const Packet& packet);

// The same for a question in words: the device sends from its own address of the destination's family.
// An error if there is no such device.
Result<Verdict> explain(const Policy& policy, std::string_view device, const IpAddress& to, Proto proto,
                        std::uint16_t port);

} // namespace penstock::policy
