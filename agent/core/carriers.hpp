// Interfaces below an uplink: of a VLAN, a PPPoE session, a bond or a bridge. Their frames are judged as the uplink's.
#pragma once

#include "agent/core/config.hpp"
#include "agent/core/routing.hpp"
#include "agent/datapath/gate.hpp"
#include "agent/net/pppoe.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace penstock::core {

struct Carrier {
    unsigned flags = 0;            // enum penstock_link_flags
    std::set<std::string> uplinks; // of the configuration, that stand on it
};

struct Carriers {
    std::map<int, Carrier> links; // by ifindex; an uplink with another one above it is among them
    std::vector<datapath::Carried> carried;
};

// Everything below the uplinks of the configuration, down to the hardware. A LAN is nobody's carrier.
Carriers find_carriers(const Config& config, const NetworkView& network,
                       const std::vector<net::PppoeSession>& sessions);
// The interface, and all below it.
std::set<int> footing(const Config& config, const NetworkView& network, const std::string& name);
// What a LAN and an uplink must not share, each in words that say how to part them.
std::vector<std::string> shared_wires(const Config& config, const NetworkView& network);

} // namespace penstock::core
