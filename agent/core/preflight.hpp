// What can be found wrong before anything is touched, beyond the text of the configuration: files, user, interfaces,
// addresses. `penstockd --check-config` tells all of it; a start tells it too, closes the gate and goes on.
#pragma once

#include "agent/core/config.hpp"

#include <string>
#include <vector>

namespace penstock::core {

struct Preflight {
    std::vector<std::string> wrong;    // no traffic until it is mended
    std::vector<std::string> warnings; // may be as intended
};

Preflight preflight(const Config& config);

} // namespace penstock::core
