// Layer 3: what XFRM itself does with packets to the tunnels' networks when no tunnel takes them, and with what came
// out of a tunnel and is on its way anywhere but to the LAN. On every kernel that has XFRM, with or without ESP.
#pragma once

#include "agent/core/config.hpp"
#include "agent/core/repairs.hpp"
#include "agent/net/xfrm.hpp"

#include <vector>

namespace penstock::core {

// They stand behind the tunnels' own policies. tun: ifindex of the TUN of userspace ESP, 0 if there is none. lan: the
// ifindexes of the LAN interfaces that are there.
std::vector<net::SecurityPolicy> base_policies(const Config& config, int tun, const std::vector<int>& lan);
// Forwarding without a policy is blocked; what the gateway itself sends and receives is judged by the other layers.
// Policies of others that would let packets to a tunnel's networks pass in clear are deleted.
Status apply_base_policies(const std::vector<net::SecurityPolicy>& wanted, const Config& config, Repairs& repairs);
Status remove_base_policies();

} // namespace penstock::core
