// How things look to a person: sizes, durations, times, colours, lines that fit.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::cli {

inline constexpr std::size_t kColumns = 80;

std::string human_size(double bytes);             // "1.5 MiB"
std::string human_count(std::uint64_t count);     // "999", "12.3k", "4.5M"
std::string human_duration(std::int64_t seconds); // "2 h 5 min"
std::string short_duration(std::int64_t seconds); // "2 h"
// "2026-11-22T19:00:00.123Z" as "2026-11-22 20:00:00 CET (19:00:00 UTC)", or "2026-11-22 19:00:00 UTC" where that is
// the local time; what is no time stays as it is.
std::string human_time(const std::string& utc);
std::string local_clock(const std::string& utc); // "11-22 20:00:00": local, for lists

// What a stranger on the network chose must not steer the terminal.
std::string harmless(std::string text);
// Breaks at blanks, so that no line is longer than kColumns; lines after the first begin with `indent` blanks.
std::string wrap(const std::string& text, std::size_t indent);
// "policy   " and the text, wrapped, with a newline.
std::string labelled(std::string_view label, const std::string& text);

enum class Tone { good, bad, doubtful };
bool colours(); // a terminal, and neither NO_COLOR nor TERM=dumb
std::string paint(const std::string& word, Tone tone);

// A member as text, numbers and all; `otherwise` if it is absent or null.
std::string text_of(const nlohmann::json& object, const char* key, const std::string& otherwise = "-");
std::int64_t number_of(const nlohmann::json& object, const char* key);

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

} // namespace penstock::cli
