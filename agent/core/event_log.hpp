// What happened, for `penstock events` and the journal: the last events in memory, and whoever follows them.
#pragma once

#include "agent/base/log.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

namespace penstock::core {

class EventLog {
public:
    using Follower = std::function<void(const nlohmann::json&)>;

    // Adds time and event to the fields, keeps it, writes it to the log (debug: only there if asked for), tells the
    // followers.
    void add(log::Level level, std::string_view event, nlohmann::json fields = nlohmann::json::object());
    // A drop: for followers and the last few in memory, in a ring of its own, so that no device can push out what
    // matters.
    void add_drop(nlohmann::json fields);
    // In the order of time.
    [[nodiscard]] std::vector<nlohmann::json> recent() const;
    std::uint64_t follow(Follower follower);
    void unfollow(std::uint64_t id) { followers_.erase(id); }

private:
    void keep(std::deque<nlohmann::json>& ring, std::size_t size, nlohmann::json event);
    std::deque<nlohmann::json> events_, drops_;
    std::map<std::uint64_t, Follower> followers_;
    std::uint64_t next_id_ = 1;
};

} // namespace penstock::core
