// Points in time as text: RFC 3339 in UTC with milliseconds, so that earlier ones sort first.
#pragma once

#include <chrono>
#include <string>

namespace penstock {

std::string utc(std::chrono::system_clock::time_point time); // "2026-11-22T19:00:00.123Z"
std::string utc_now();

} // namespace penstock
