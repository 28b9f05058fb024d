#include "agent/pull/header.hpp"

#include <algorithm>
#include <charconv>

namespace penstock::pull {
namespace {

constexpr std::size_t kMaxValue = 1024; // bytes; longer ones are not sent back

std::string_view trimmed(std::string_view text) {
    constexpr auto kBlank = " \t\r\n";
    const auto first = text.find_first_not_of(kBlank);
    return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

bool is_called(std::string_view name, std::string_view expected) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return std::ranges::equal(name, expected, {}, lower);
}

bool can_be_sent_back(std::string_view value) {
    return value.size() <= kMaxValue && std::ranges::all_of(value, [](char c) { return c >= ' ' && c < 0x7f; });
}

} // namespace

void Header::take(std::string_view line) {
    if (line.starts_with("HTTP/")) {
        *this = {};
        old_http = line.starts_with("HTTP/1");
        const auto blank = std::min(line.find(' '), line.size() - 1);
        std::from_chars(line.data() + blank + 1, line.data() + line.size(), status);
        return;
    }
    const auto colon = line.find(':');
    if (colon == std::string_view::npos)
        return;
    const auto name = line.substr(0, colon), value = trimmed(line.substr(colon + 1));
    if (is_called(name, "content-length") || is_called(name, "transfer-encoding"))
        delimited = true;
    else if (!can_be_sent_back(value))
        return;
    else if (is_called(name, "etag"))
        validators.etag = value;
    else if (is_called(name, "last-modified"))
        validators.last_modified = value;
    else if (is_called(name, "content-range"))
        range = value;
}

// "bytes FIRST-LAST/SIZE"
bool Header::continues_at(std::uint64_t first) const {
    const auto wanted = "bytes " + std::to_string(first) + "-";
    if (!range.starts_with(wanted))
        return false;
    std::uint64_t last = 0, size = 0;
    const auto* end = range.data() + range.size();
    const auto middle = std::from_chars(range.data() + wanted.size(), end, last);
    if (middle.ec != std::errc{} || middle.ptr == end || *middle.ptr != '/')
        return false;
    const auto rest = std::from_chars(middle.ptr + 1, end, size);
    return rest.ec == std::errc{} && rest.ptr == end && size > 0 && last == size - 1 && last >= first;
}

} // namespace penstock::pull
