// Layer 2: device traffic, and whatever goes to a tunnel's networks or to the devices, is looked up in a table of our
// own: tunnels and the LAN, else unreachable. Computes what should be and puts the kernel there.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"
#include "agent/core/config.hpp"
#include "agent/core/repairs.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/net/links.hpp"
#include "agent/net/routes.hpp"
#include "agent/net/rules.hpp"

#include <optional>
#include <vector>

namespace penstock::core {

// Where the packets of a tunnel go next: in kernel ESP the way to its peer, in user space the TUN.
struct TunnelPath {
    IpPrefix remote_network;
    int oif = 0;
    std::optional<IpAddress> gateway;
};

// The network as it is now.
struct NetworkView {
    std::vector<net::Link> links;
    std::vector<net::Address> addresses;
    std::vector<net::Route> main_routes;

    static Result<NetworkView> read();
    [[nodiscard]] const net::Link* find(const std::string& name) const;
    [[nodiscard]] const net::Link* find(int ifindex) const;
};

std::vector<net::Rule> desired_rules(const Config& config, const datapath::Marks& marks);
std::vector<net::Route> desired_routes(const Config& config, const NetworkView& network,
                                       const std::vector<TunnelPath>& paths);

// Adds what is missing, then takes away what is ours and no longer wanted: there is no moment with less than both.
// An error also if somebody else's rule stands before the last of ours: what it takes away never meets our table.
Status apply_rules(const std::vector<net::Rule>& rules, Repairs& repairs);
Status apply_routes(std::uint32_t table, const std::vector<net::Route>& routes, Repairs& repairs);
// Everything of ours, for `guard release`.
Status remove_all(std::uint32_t table);

} // namespace penstock::core
