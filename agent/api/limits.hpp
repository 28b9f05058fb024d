// What strangers may cost at most.
#pragma once

#include "policy/limits.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace penstock::api {

struct Limits {
    std::size_t connections = 256;
    std::size_t connections_of_one = 32; // client address; of IPv6 its /64
    std::size_t handshakes = 64;         // under way: the oldest makes room
    std::size_t uploads = 2;             // at once; of the others, one gets an answer
    std::size_t streams = 8;             // of events
    std::size_t questions = 16;          // to penstockd

    std::uint32_t header_bytes = 8U << 10;
    std::uint64_t question_bytes = 64U << 10; // body of POST /v1/explain
    std::uint64_t bundle_bytes = policy::kMaxEnvelopeBytes.value;

    std::chrono::seconds handshake{5};
    std::chrono::seconds header{20};  // for a whole one, counted from the connection or the answer before
    std::chrono::seconds stall{20};   // for each piece of a body
    std::chrono::seconds upload{900}; // for all of it
    std::chrono::seconds write{60};   // for each piece of an answer
    std::chrono::seconds answer{30};  // of penstockd
    std::chrono::seconds push{900};   // of penstockd to a bundle: it compiles and waits its turn
};

} // namespace penstock::api
