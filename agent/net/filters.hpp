// tc filters: who is first in line on a clsact hook.
#pragma once

#include "agent/base/result.hpp"

#include <cstdint>
#include <optional>

namespace penstock::net {

struct Filter {
    std::uint32_t priority = 0;
    std::uint32_t handle = 0;
    bool operator==(const Filter&) const = default;
};

// The filter that the kernel asks first; empty if there is none, or no clsact qdisc.
Result<std::optional<Filter>> first_filter(int ifindex, bool ingress);

} // namespace penstock::net
