// What happened, for `penstock events` and the journal: the last events in memory, and whoever follows them.
#pragma once

#include "agent/base/log.hpp"
#include "agent/core/privacy.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

namespace penstock::core {

class EventLog {
public:
    // What is written to the log is veiled; what is kept and told is not, for whoever hands it on to veil.
    // privacy: outlives this; none: nothing is hidden. keep: events older than that are forgotten.
    explicit EventLog(const Privacy* privacy = nullptr, std::chrono::seconds keep = std::chrono::hours(7 * 24))
        : privacy_(privacy), keep_(keep) {}

    using Follower = std::function<void(const nlohmann::json&)>;

    // Adds time and event to the fields, keeps it, writes it to the log (debug: only there if asked for), tells the
    // followers.
    void add(log::Level level, std::string_view event, nlohmann::json fields = nlohmann::json::object());
    // A drop: for followers and the last few in memory, in a ring of its own, so that no device can push out what
    // matters.
    void add_drop(nlohmann::json fields);
    // In the order of time.
    [[nodiscard]] std::vector<nlohmann::json> recent() const;
    void forget_old();
    std::uint64_t follow(Follower follower);
    void unfollow(std::uint64_t id) { followers_.erase(id); }

private:
    void keep(std::deque<nlohmann::json>& ring, std::size_t size, nlohmann::json event);
    const Privacy* privacy_;
    std::chrono::seconds keep_;
    std::deque<nlohmann::json> events_, drops_;
    std::map<std::uint64_t, Follower> followers_;
    std::uint64_t next_id_ = 1;
};

} // namespace penstock::core
