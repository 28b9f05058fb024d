// Drops of one interval, by device and reason: what a flood looks like to a person who wants to read it.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>

namespace penstock::cli {

class EventSummary {
public:
    // Takes a drop in; any other event is not for it.
    bool take(const nlohmann::json& event);
    // A line for each device and reason since the last call, the most first; at most kLines, then one that counts the
    // rest.
    std::string flush();
    [[nodiscard]] bool empty() const { return drops_.empty(); }

    static constexpr std::size_t kLines = 20;

private:
    struct Count {
        std::uint64_t events = 0;
        std::set<std::string> destinations; // the first few
        std::string last;                   // time, UTC
    };
    using Key = std::tuple<std::string, std::string>; // device or MAC, reason
    std::map<Key, Count> drops_;
};

} // namespace penstock::cli
