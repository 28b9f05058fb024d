// Whether a policy fits this gateway: what its signers cannot know.
#pragma once

#include "agent/base/result.hpp"
#include "agent/core/config.hpp"
#include "agent/net/links.hpp"
#include "policy/compile.hpp"

#include <vector>

namespace penstock::core {

// An error names the device or the right, the configuration's line of words, and the mend. own: the gateway's
// addresses.
Status check_fit(const policy::Policy& policy, const policy::CompiledPolicy& compiled, const Config& config,
                 const std::vector<net::Address>& own);

// Whether a device that learns its addresses may have this one, seen on the LAN interface `ifindex`: one of its
// networks holds it, and nobody else needs it. own: the gateway's addresses.
Status check_claim(const IpAddress& address, int ifindex, const Config& config, const std::vector<net::Address>& own);

} // namespace penstock::core
