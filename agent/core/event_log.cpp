#include "agent/core/event_log.hpp"

#include "agent/base/utc.hpp"

#include <algorithm>
#include <vector>

namespace penstock::core {
namespace {

constexpr std::size_t kKeptEvents = 1000;
constexpr std::size_t kKeptDrops = 200;

} // namespace

void EventLog::add(log::Level level, std::string_view event, nlohmann::json fields) {
    std::vector<log::Field> line;
    const auto shown = privacy_ != nullptr ? privacy_->veil(fields) : fields;
    for (const auto& [key, value] : shown.items())
        line.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());
    log::write(level, event, line);
    fields["event"] = event;
    keep(events_, kKeptEvents, std::move(fields));
}

void EventLog::add_drop(nlohmann::json fields) {
    fields["event"] = "drop";
    keep(drops_, kKeptDrops, std::move(fields));
}

void EventLog::keep(std::deque<nlohmann::json>& ring, std::size_t size, nlohmann::json event) {
    event["time"] = utc_now();
    ring.push_back(event);
    if (ring.size() > size)
        ring.pop_front();
    // A follower may leave while it is told.
    const auto followers = followers_;
    for (const auto& [id, follower] : followers)
        follower(event);
}

std::vector<nlohmann::json> EventLog::recent() const {
    std::vector<nlohmann::json> out(events_.begin(), events_.end());
    out.insert(out.end(), drops_.begin(), drops_.end());
    std::ranges::stable_sort(out, {}, [](const nlohmann::json& event) { return event["time"].get<std::string>(); });
    return out;
}

void EventLog::forget_old() {
    const auto oldest_kept = utc(std::chrono::system_clock::now() - keep_);
    for (auto* ring : {&events_, &drops_})
        while (!ring->empty() && ring->front()["time"].get_ref<const std::string&>() < oldest_kept)
            ring->pop_front();
}

std::uint64_t EventLog::follow(Follower follower) {
    followers_[next_id_] = std::move(follower);
    return next_id_++;
}

} // namespace penstock::core
