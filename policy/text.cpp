#include "policy/text.hpp"

#include "policy/limits.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

namespace penstock::policy {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); j++)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); i++) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); j++) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

} // namespace

Result<Time> parse_time(std::string_view text) {
    constexpr std::string_view shape = "0000-00-00T00:00:00Z";
    bool ok = text.size() == shape.size();
    for (std::size_t i = 0; ok && i < shape.size(); i++)
        ok = shape[i] == '0' ? is_digit(text[i]) : text[i] == shape[i];
    if (!ok)
        return fail(quote(text) + " is not a time in UTC such as 2027-01-01T00:00:00Z");
    const auto number = [&](std::size_t at, std::size_t size) {
        int value = 0;
        for (const char c : text.substr(at, size))
            value = value * 10 + (c - '0');
        return value;
    };
    using namespace std::chrono;
    const year_month_day date{year(number(0, 4)), month(static_cast<unsigned>(number(5, 2))),
                              day(static_cast<unsigned>(number(8, 2)))};
    const int h = number(11, 2), m = number(14, 2), s = number(17, 2);
    if (!date.ok() || h > 23 || m > 59 || s > 59)
        return fail(quote(text) + " is not a day and time that exists");
    return Time(sys_days(date)) + hours(h) + minutes(m) + seconds(s);
}

std::string format_time(Time time) {
    using namespace std::chrono;
    const auto day_start = floor<days>(time);
    const year_month_day date(day_start);
    const hh_mm_ss clock(time - day_start);
    char text[64];
    std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                  static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                  static_cast<int>(clock.seconds().count()));
    return text;
}

Time now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::string quote(std::string_view text) {
    constexpr std::size_t kLongest = 80;
    std::string out = "\"";
    for (const char c : text.substr(0, kLongest))
        out += c >= 0x20 && c < 0x7f ? c : '?';
    return out + (text.size() > kLongest ? "...\"" : "\"");
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
    const std::size_t close_enough = word.size() <= 4 ? 1 : 2;
    std::string_view best;
    std::size_t best_distance = close_enough + 1;
    for (const auto candidate : candidates) {
        // The length difference bounds the distance from below: skips most of a long list.
        const std::size_t longer = std::max(word.size(), candidate.size());
        if (longer - std::min(word.size(), candidate.size()) > close_enough || longer > kMaxNameBytes.value)
            continue;
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best.empty() ? "" : "; did you mean " + quote(best) + "?";
}

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= kMaxNameBytes.value && is_alnum(text.front()) &&
           std::ranges::all_of(text, [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_glob(std::string_view text) {
    std::string plain(text);
    std::ranges::replace_if(plain, [](char c) { return c == '*' || c == '?'; }, 'x');
    return is_name(plain);
}

bool glob_matches(std::string_view glob, std::string_view text) {
    std::size_t g = 0, t = 0, star = std::string_view::npos, retry = 0;
    while (t < text.size()) {
        if (g < glob.size() && glob[g] == '*') {
            star = g++;
            retry = t;
        } else if (g < glob.size() && (glob[g] == '?' || glob[g] == text[t])) {
            g++;
            t++;
        } else if (star != std::string_view::npos) {
            g = star + 1;
            t = ++retry;
        } else {
            return false;
        }
    }
    while (g < glob.size() && glob[g] == '*')
        g++;
    return g == glob.size();
}

} // namespace penstock::policy
