#include "agent/cli/event_summary.hpp"

#include "agent/cli/format.hpp"

#include <algorithm>
#include <vector>

namespace penstock::cli {
namespace {

constexpr std::size_t kKeys = 1000; // a flood of forged MACs must not take our memory
constexpr std::size_t kDestinations = 3;

std::string destination(const nlohmann::json& event) {
    const auto proto = number_of(event, "protocol");
    const auto name = proto == 6 ? "tcp" : proto == 17 ? "udp" : "protocol " + std::to_string(proto);
    const auto port = number_of(event, "port");
    return text_of(event, "destination") + " " + name + (port != 0 ? "/" + std::to_string(port) : "");
}

} // namespace

bool EventSummary::take(const nlohmann::json& event) {
    if (text_of(event, "event") != "drop")
        return false;
    Key key{text_of(event, "device", text_of(event, "mac")), text_of(event, "reason")};
    if (drops_.size() >= kKeys && !drops_.contains(key))
        key = {"others", "various"};
    auto& count = drops_[key];
    count.events++;
    if (count.destinations.size() <= kDestinations)
        count.destinations.insert(destination(event));
    count.last = text_of(event, "time");
    return true;
}

std::string EventSummary::flush() {
    std::vector<std::pair<Key, Count>> sorted(drops_.begin(), drops_.end());
    drops_.clear();
    std::ranges::stable_sort(sorted, std::greater{}, [](const auto& one) { return one.second.events; });
    std::string out;
    std::uint64_t rest = 0;
    for (std::size_t i = 0; i < sorted.size(); i++) {
        const auto& [key, count] = sorted[i];
        if (i >= kLines) {
            rest += count.events;
            continue;
        }
        auto line = local_clock(count.last) + "  drop " + std::get<0>(key) + " " + std::get<1>(key);
        if (count.events > 1)
            line += " x" + std::to_string(count.events);
        line += " to";
        std::size_t shown = 0;
        for (const auto& one : count.destinations)
            if (shown++ < kDestinations)
                line += (shown > 1 ? ", " : " ") + one;
        if (count.destinations.size() > kDestinations)
            line += " and others";
        out += (colours() ? wrap(line, 4) : line) + "\n";
    }
    if (rest != 0)
        out += "                and " + std::to_string(rest) + " more of " + std::to_string(sorted.size() - kLines) +
               " others\n";
    return out;
}

} // namespace penstock::cli
