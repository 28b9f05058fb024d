#include "agent/cli/format.hpp"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <unistd.h>

namespace penstock::cli {
namespace {

// Characters that take a column: bytes of UTF-8 that begin one, without the colour sequences.
std::size_t width(std::string_view text) {
    std::size_t columns = 0;
    bool escape = false;
    for (const char c : text) {
        if (c == '\033')
            escape = true;
        else if (escape)
            escape = c != 'm';
        else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80)
            columns++;
    }
    return columns;
}

bool parse_utc(const std::string& utc, std::time_t& seconds) {
    std::tm parts{};
    const char* end = strptime(utc.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    if (end == nullptr || utc.back() != 'Z')
        return false;
    seconds = timegm(&parts);
    return true;
}

std::string when(const char* pattern, const std::tm& parts) {
    std::array<char, 64> text{};
    std::strftime(text.data(), text.size(), pattern, &parts);
    return text.data();
}

} // namespace

std::string format(const char* pattern, ...) {
    std::array<char, 1024> line{};
    va_list arguments;
    va_start(arguments, pattern);
    std::vsnprintf(line.data(), line.size(), pattern, arguments);
    va_end(arguments);
    return line.data();
}

std::string human_size(double bytes) {
    constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < kUnits.size()) {
        bytes /= 1024;
        unit++;
    }
    return unit == 0 ? format("%.0f B", bytes) : format("%.1f %s", bytes, kUnits.at(unit));
}

std::string human_count(std::uint64_t count) {
    if (count < 10'000)
        return std::to_string(count);
    constexpr std::array kUnits = {"k", "M", "G", "T", "P", "E"};
    auto value = static_cast<double>(count);
    std::size_t unit = 0;
    for (value /= 1000; value >= 999.95 && unit + 1 < kUnits.size(); value /= 1000)
        unit++;
    return format("%.1f%s", value, kUnits.at(unit));
}

std::string human_duration(std::int64_t seconds) {
    if (seconds < 60)
        return std::to_string(seconds) + " s";
    if (seconds < 3600)
        return std::to_string(seconds / 60) + " min " + std::to_string(seconds % 60) + " s";
    if (seconds < 86400)
        return std::to_string(seconds / 3600) + " h " + std::to_string(seconds % 3600 / 60) + " min";
    return std::to_string(seconds / 86400) + " d " + std::to_string(seconds % 86400 / 3600) + " h";
}

std::string short_duration(std::int64_t seconds) {
    const auto text = human_duration(seconds);
    return text.substr(0, text.find(' ', text.find(' ') + 1));
}

std::string human_time(const std::string& utc) {
    std::time_t seconds = 0;
    if (!parse_utc(utc, seconds))
        return utc;
    std::tm local{}, universal{};
    localtime_r(&seconds, &local);
    gmtime_r(&seconds, &universal);
    if (local.tm_gmtoff == 0)
        return when("%Y-%m-%d %H:%M:%S UTC", universal);
    const bool same_day = local.tm_yday == universal.tm_yday;
    return when("%Y-%m-%d %H:%M:%S %Z (", local) + when(same_day ? "%H:%M:%S UTC)" : "%m-%d %H:%M:%S UTC)", universal);
}

std::string local_clock(const std::string& utc) {
    std::time_t seconds = 0;
    if (!parse_utc(utc, seconds))
        return utc;
    std::tm local{};
    localtime_r(&seconds, &local);
    return when("%m-%d %H:%M:%S", local);
}

std::string harmless(std::string text) {
    for (char& c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            c = '?';
    return text;
}

std::string wrap(const std::string& text, std::size_t indent) {
    std::string out, line;
    std::size_t from = 0;
    while (from <= text.size()) {
        const auto end = std::min(text.find(' ', from), text.size());
        const auto word = text.substr(from, end - from);
        if (width(line) + 1 + width(word) > kColumns && width(line) > indent) {
            out += line + "\n";
            line = std::string(indent, ' ') + word;
        } else {
            line += (from == 0 ? "" : " ") + word;
        }
        from = end + 1;
    }
    return out + line;
}

std::string labelled(std::string_view label, const std::string& text) {
    constexpr std::size_t kLabel = 9;
    std::string head(label);
    head.resize(std::max(kLabel, head.size() + 1), ' ');
    return wrap(head + text, kLabel) + "\n";
}

bool colours() {
    static const bool on = [] {
        const char* no_colour = std::getenv("NO_COLOR"); // set and not empty: https://no-color.org
        const char* terminal = std::getenv("TERM");
        return isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0') &&
               (terminal == nullptr || std::string_view(terminal) != "dumb");
    }();
    return on;
}

std::string paint(const std::string& word, Tone tone) {
    if (!colours())
        return word;
    const char* code = tone == Tone::good ? "32" : tone == Tone::bad ? "1;31" : "33";
    return std::string("\033[") + code + "m" + word + "\033[0m";
}

std::string text_of(const nlohmann::json& object, const char* key, const std::string& otherwise) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null())
        return otherwise;
    return harmless(found->is_string() ? found->get<std::string>() : found->dump());
}

std::int64_t number_of(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

} // namespace penstock::cli
