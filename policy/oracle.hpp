// What the policy says about one packet that belongs to no flow yet: slow, obvious, and independent of the compiled
// form it is the judge of. oracle_gateway.hpp adds what a gateway remembers.
#pragma once

#include "policy/model.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::policy {

enum class Came : std::uint8_t { from_device, out_of_tunnel };

struct Packet {
    Came came = Came::from_device;
    MacAddress mac;        // source, from a device
    std::string interface; // it came in on, from a device; empty: not asked
    IpAddress source;
    IpAddress destination;
    std::uint8_t proto = 0;             // IANA number
    std::uint16_t source_port = 0;      // host byte order; 0 where the protocol has none
    std::uint16_t destination_port = 0; // ICMP: the type
};

enum class Reason {
    allowed,
    unknown_device,  // no device has this MAC, or (out of a tunnel) this destination
    wrong_interface, // it is bound to another LAN
    spoofed_address,
    multicast,
    not_allowed, // nothing in force allows it
    denied,      // a deny in force names it
    no_flow,     // oracle_gateway.hpp: these
    fragment,
    not_tls,
    not_dtls,
};

struct Verdict {
    bool allow = false;
    Reason reason = Reason::unknown_device;
    Require require = Require::none; // what the flow must speak, if it is allowed
    bool on_lan = false;             // the other end is a device too: no tunnel is in between
    std::string device;              // name, empty if unknown
    std::string service;             // name of what allowed or denied it, else empty
    std::string citation;            // a sentence for people that names file, line, fleet and version
};

std::string_view reason_name(Reason reason); // "allowed", "unknown_device" ...

Verdict judge(const Policy& policy, Time at, const Packet& packet);

// A question in words: may the device send to `other`, or (direction from) `other` to the device? The device has its
// own address of that family. port: ICMP: the type.
struct Question {
    std::string device;
    Direction direction = Direction::to;
    IpAddress other;
    Proto proto = Proto::tcp;
    std::uint16_t port = 0;
};
// From what a person typed; one of to and from is empty. ICMP without a port (or with 0) means an echo request.
Result<Question> read_question(std::string_view device, std::string_view to, std::string_view from,
                               std::string_view proto, std::uint64_t port);
// An error if there is no such device.
Result<Verdict> explain(const Policy& policy, Time at, const Question& question);

} // namespace penstock::policy
