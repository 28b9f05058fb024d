#include "agent/core/repairs.hpp"

#include <numeric>

namespace penstock::core {

const char* layer_name(Layer layer) {
    static constexpr const char* kNames[] = {"hooks",           "pins",     "routes",  "rules",      "policies",
                                             "tunnel_policies", "defaults", "sysctls", "forwarding", "sas"};
    static_assert(std::size(kNames) == static_cast<std::size_t>(Layer::count));
    return kNames[static_cast<std::size_t>(layer)];
}

Repairs::Look::~Look() { repairs_.standing_[layer_] = std::move(seen_); }

Status Repairs::Look::put(const std::string& thing, const std::string& found) {
    if (!repairs_.standing_[layer_].contains(thing))
        return {};
    auto ok = repairs_.note(layer_, thing, found);
    if (!ok)
        seen_.insert(thing); // still a repair when its time comes
    return ok;
}

Status Repairs::Look::remove(const std::string& thing) { return repairs_.note(layer_, thing, "was added"); }

void Repairs::forget_old(std::deque<Clock::time_point>& times) const {
    while (!times.empty() && now_ - times.front() > kWindow)
        times.pop_front();
}

Status Repairs::note(Layer layer, const std::string& thing, const std::string& found) {
    auto& times = history_[thing];
    forget_old(times);
    if (fights_.contains(thing) && !times.empty() && now_ - times.back() < kPeriod)
        return fail(thing + " " + found + " again; somebody keeps undoing it, so it is put back once a second");
    times.push_back(now_);
    counts_.at(static_cast<std::size_t>(layer))++;
    if (!fights_.contains(thing)) { // of a fight is told once
        auto& untold = untold_[layer];
        if (untold.count++ == 0)
            untold.first = thing + " " + found;
    }
    if (times.size() >= kFight && fights_.insert(thing).second)
        events_.add(log::Level::error, "fight",
                    {{"layer", layer_name(layer)},
                     {"what", thing},
                     {"times", times.size()},
                     {"mend", "find the program or person that keeps undoing it; until then nothing is forwarded"}});
    return {};
}

void Repairs::tell() {
    for (const auto& [layer, untold] : untold_)
        events_.add(log::Level::warning, "repaired",
                    {{"layer", layer_name(layer)}, {"found", untold.first}, {"count", untold.count}});
    untold_.clear();
    for (auto entry = history_.begin(); entry != history_.end();) {
        forget_old(entry->second);
        if (entry->second.empty() && fights_.erase(entry->first) != 0)
            events_.add(log::Level::info, "fight_over", {{"what", entry->first}});
        entry = entry->second.empty() ? history_.erase(entry) : std::next(entry);
    }
}

Status Repairs::peace() const {
    if (fights_.empty())
        return {};
    return fail("somebody keeps undoing what penstock puts up: " + *fights_.begin() +
                (fights_.size() > 1 ? " and " + std::to_string(fights_.size() - 1) + " more" : ""));
}

std::uint64_t Repairs::total() const { return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0}); }

} // namespace penstock::core
