// `penstockd guard release`: takes the gate away when no penstockd runs; for the purge of the package.
#pragma once

#include "agent/core/config.hpp"

namespace penstock::core {

// Removes everything of ours from the kernel: programs and pins, routes and rules, XFRM's blocks, the tunnels' policies
// and SAs. The LAN is not forwarded afterwards. An error if another process guards this machine.
Status release(const Config& config);

} // namespace penstock::core
