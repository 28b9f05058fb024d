// Which network namespace a process is in.
#pragma once

#include "agent/base/result.hpp"

#include <cstdint>

namespace penstock {

// Of this process: the inode number of its namespace, by which the kernel names it (namespaces(7)).
Result<std::uint32_t> own_netns();

} // namespace penstock
