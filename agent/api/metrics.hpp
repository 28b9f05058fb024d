// GET /metrics: what penstockd and the listener count, in the text format of Prometheus (0.0.4). Nothing of a single
// device.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <string>

namespace penstock::api {

// What the listener counts itself.
struct Counters {
    std::uint64_t handshakes_failed = 0;
    std::uint64_t refused = 0;                 // connections, for a limit
    std::uint64_t evicted = 0;                 // in the middle of a handshake, for one that came after
    std::map<unsigned, std::uint64_t> answers; // by status code
};

// status: penstockd's answer; null if it did not answer.
std::string metrics_text(const nlohmann::json& status, const Counters& own, std::size_t connections);

} // namespace penstock::api
