// Switches of the kernel that could open a layer behind its back: forwarding, what XFRM skips, redirects, proxies.
#pragma once

#include "agent/core/config.hpp"
#include "agent/core/repairs.hpp"
#include "agent/core/routing.hpp"

#include <string>
#include <vector>

namespace penstock::core {

struct Sysctl {
    std::string key, value;
    bool operator==(const Sysctl&) const = default;
};

// tun: the TUN of userspace ESP, "" if there is none.
std::vector<Sysctl> desired_sysctls(const Config& config, const NetworkView& network, const std::string& tun);
// A key that the kernel does not have is left out: an interface that is gone, a family that is switched off.
Status apply_sysctls(const std::vector<Sysctl>& wanted, Repairs& repairs);
// Nobody may route multicast: the kernel forwards it past rules and tables. It cannot be switched off from here.
Status no_multicast_routing(const NetworkView& network);

// IPv4 forwards what comes in on an interface whose own switch is on; IPv6 asks the switch of all.
// inputs: the interfaces that may be forwarded from.
Status set_forwarding(const std::vector<std::string>& inputs, bool on, Repairs& repairs);

} // namespace penstock::core
