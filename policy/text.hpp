// Small helpers for names, times and sentences that quote what a stranger wrote.
#pragma once

#include "agent/base/result.hpp"

#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace penstock::policy {

using Time = std::chrono::sys_seconds; // UTC

// RFC 3339 in UTC and whole seconds, as "2027-01-01T00:00:00Z" and nothing else.
Result<Time> parse_time(std::string_view text);
std::string format_time(Time time);
Time now();

// In double quotes, shortened, with control characters and broken bytes made harmless for a terminal.
std::string quote(std::string_view text);

// "; did you mean \"ports\"?" if one of the candidates is close, else empty.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

// Letters, digits, '.', '_' and '-', starting with a letter or digit, at most kMaxNameBytes.
bool is_name(std::string_view text);
// A name that may also hold '*' and '?'.
bool is_glob(std::string_view text);
bool glob_matches(std::string_view glob, std::string_view text);

} // namespace penstock::policy
