// When what was compiled of a policy is out of date.
#pragma once

#include "policy/text.hpp"

#include <optional>

namespace penstock::core {

struct Schedule {
    policy::Time compiled_at;
    std::optional<policy::Time> next_change; // none: the policy is the same at any time

    // Its next change has come, or the clock went back to where windows may have stood otherwise.
    [[nodiscard]] bool due(policy::Time now) const { return next_change && (now >= *next_change || now < compiled_at); }
};

} // namespace penstock::core
