#include "agent/base/log.hpp"

#include <algorithm>
#include <cstdlib>
#include <unistd.h>

namespace penstock::log {
namespace {

void append_value(std::string& line, std::string_view value) {
    const auto is_plain = [](unsigned char c) { return c > 0x20 && c != 0x7f && c != '"' && c != '\\' && c != '='; };
    if (!value.empty() && std::ranges::all_of(value, is_plain)) {
        line += value;
        return;
    }
    line += '"';
    for (const char c : value) {
        if (c == '"' || c == '\\')
            line += '\\';
        // One event is one line: a control character from outside must neither forge a second one nor steer a terminal.
        line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
    line += '"';
}

} // namespace

void write(Level level, std::string_view event, std::span<const Field> fields) {
    static const bool verbose = std::getenv("PENSTOCK_DEBUG") != nullptr;
    static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
    if (level == Level::debug && !verbose)
        return;
    std::string line;
    if (journal)
        line = "<" + std::to_string(static_cast<int>(level)) + ">";
    line += "event=";
    line += event;
    for (const auto& [key, value] : fields) {
        line += ' ';
        line += key;
        line += '=';
        append_value(line, value);
    }
    line += '\n';
    // A closed journal must never stop the guard: the line is lost (main ignores SIGPIPE). A full one blocks until it
    // is read.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

} // namespace penstock::log
