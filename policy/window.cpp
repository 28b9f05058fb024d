#include "policy/window.hpp"

#include <date/tz.h>

#include <algorithm>
#include <cstdio>

namespace penstock::policy {
namespace {

using std::chrono::minutes, std::chrono::seconds, std::chrono::days;

const date::time_zone* find_zone(std::string_view name) {
    try {
        return date::locate_zone(name);
    } catch (const std::exception&) { // how the library says that there is none
        return nullptr;
    }
}

// A stretch of time in which local time runs evenly.
struct Stretch {
    seconds offset;
    Time end;
};

Stretch stretch_at(const date::time_zone& zone, Time at) {
    const auto info = zone.get_info(at);
    return {info.offset, info.end};
}

// local: seconds since 1970 as the wall shows them.
bool wall_is_in(const Window& window, seconds local) {
    const auto day = std::chrono::floor<days>(local);
    const auto minute = std::chrono::duration_cast<minutes>(local - day).count();
    const auto chosen = [&](days d) {
        return window.days >> ((d.count() + 3) % 7 + 7) % 7 & 1;
    }; // 1970 began on a Thursday
    if (window.begin < window.end)
        return chosen(day) && minute >= window.begin && minute < window.end;
    return (chosen(day) && minute >= window.begin) || (chosen(day - days(1)) && minute < window.end);
}

// The first begin, end or midnight after `local`.
seconds next_edge(const Window& window, seconds local) {
    const auto day = std::chrono::floor<days>(local);
    seconds next = day + days(1);
    for (const auto edge : {minutes(window.begin), minutes(window.end)})
        for (const seconds at : {seconds(day + edge), seconds(day + days(1) + edge)})
            if (at > local)
                next = std::min(next, at);
    return next;
}

} // namespace

Status check_zone(std::string_view zone) {
    // The library would open any file below its folder.
    if (zone.empty() || zone.front() == '/' || zone.find("..") != zone.npos || find_zone(zone) == nullptr)
        return fail(quote(zone) + " is not a time zone that this machine knows, such as Europe/Berlin or Etc/UTC");
    return {};
}

bool is_open(const Window& window, Time at) {
    const auto* zone = find_zone(window.zone);
    return zone != nullptr && wall_is_in(window, at.time_since_epoch() + stretch_at(*zone, at).offset);
}

std::optional<Time> next_change(const Window& window, Time after) {
    const auto* zone = find_zone(window.zone);
    if (zone == nullptr)
        return std::nullopt;
    const bool open = is_open(window, after);
    // A window repeats every week; the clocks change in between at most.
    for (Time at = after; at < after + days(15);) {
        const Stretch stretch = stretch_at(*zone, at);
        at = std::min(Time(next_edge(window, at.time_since_epoch() + stretch.offset) - stretch.offset), stretch.end);
        if (is_open(window, at) != open)
            return at;
    }
    return std::nullopt;
}

std::string days_text(const Window& window) {
    constexpr const char* names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    std::string out;
    for (int first = 0; first < 7; first++) {
        int last = first;
        if (!(window.days >> first & 1))
            continue;
        while (last < 6 && window.days >> (last + 1) & 1)
            last++;
        out += (out.empty() ? "" : ",") + std::string(names[first]);
        if (last > first)
            out += (last == first + 1 ? "," : "-") + std::string(names[last]);
        first = last;
    }
    return out;
}

std::string hours_text(const Window& window) {
    char text[32];
    std::snprintf(text, sizeof text, "%02u:%02u-%02u:%02u", window.begin / 60U, window.begin % 60U, window.end / 60U,
                  window.end % 60U);
    return text;
}

} // namespace penstock::policy
