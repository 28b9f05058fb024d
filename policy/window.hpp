// When a group is in force: what the clock on the wall of an IANA time zone shows. Needs the machine's tzdata.
#pragma once

#include "policy/model.hpp"

#include <optional>

namespace penstock::policy {

// Is the zone known on this machine?
Status check_zone(std::string_view zone);

// A zone that this machine does not know (check_zone) has no open window.
bool is_open(const Window& window, Time at);

// The first instant after `after` at which the window opens or closes; none: it never does.
std::optional<Time> next_change(const Window& window, Time after);

std::string days_text(const Window& window);  // "mon-fri", "sat,sun"
std::string hours_text(const Window& window); // "22:00-06:00"

} // namespace penstock::policy
