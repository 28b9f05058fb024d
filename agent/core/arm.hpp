// `penstockd guard arm`: the gate before the network. Needs the configuration and nothing else: no certificate, no IKE,
// no network manager, no interface.
#pragma once

#include "agent/core/config.hpp"

namespace penstock::core {

// Puts up every layer and leaves; what stands outlives the process, and penstockd takes it over. Success means armed:
// every interface that is there is guarded, and what comes later meets layers 2 and 3 until penstockd has seen it.
Status arm(const Config& config);

} // namespace penstock::core
