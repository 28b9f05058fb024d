// One line per fact, key=value, to standard error with syslog priorities as systemd reads them ("<6>...").
// Only main, core and control log above debug. Never keys, never raw XFRM messages.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::log {

enum class Level { error = 3, warning = 4, info = 6, debug = 7 };

using Field = std::pair<std::string_view, std::string>;

// event: a short fixed name, e.g. "sa_installed"; fields follow in order, values quoted where needed.
void write(Level level, std::string_view event, std::span<const Field> fields);
inline void write(Level level, std::string_view event, std::initializer_list<Field> fields = {}) {
    write(level, event, std::span(fields.begin(), fields.size()));
}

inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
    write(Level::error, event, fields);
}
inline void warning(std::string_view event, std::initializer_list<Field> fields = {}) {
    write(Level::warning, event, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
    write(Level::info, event, fields);
}
inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
    write(Level::debug, event, fields);
}

} // namespace penstock::log
