// What a policy says in vain: allowed to build, and most likely not meant.
#pragma once

#include "policy/model.hpp"

#include <string>
#include <vector>

namespace penstock::policy {

// Sentences that begin with file:line, in that order.
std::vector<std::string> warnings(const Policy& policy, Time now);

} // namespace penstock::policy
