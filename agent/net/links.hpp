// Interfaces and their addresses, as the kernel has them in the network namespace of the caller.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock::net {

struct Link {
    int index = 0;
    std::string name;
    unsigned flags = 0; // IFF_*
    unsigned mtu = 0;
    std::uint16_t arphrd = 0; // ARPHRD_*: how its frames begin
    MacAddress mac;           // all zero if it has none, or one that is not 6 bytes long
    std::string kind;         // "veth", "bridge", "tun" ...; empty for hardware
    int master = 0;           // bridge or bond it is a port of; 0: none
    int lower = 0;            // carrier of a VLAN, MACVLAN ... in this namespace; 0: none
    std::uint16_t vlan = 0;   // of kind "vlan": its number, and the ethertype of its tag
    std::uint16_t vlan_protocol = 0;
    [[nodiscard]] bool up() const; // IFF_UP: switched on; says nothing about the carrier
    bool operator==(const Link&) const = default;
};

Result<std::vector<Link>> list_links();
// ENODEV if there is none.
Result<Link> find_link(const std::string& name);

struct Address {
    int ifindex = 0;
    IpAddress address;
    unsigned prefix_length = 0;
    std::uint32_t flags = 0; // IFA_F_*: tentative, dadfailed, temporary, deprecated ...
    std::uint8_t scope = 0;  // RT_SCOPE_*
    std::optional<IpAddress> peer;
    std::optional<IpAddress> broadcast;
    [[nodiscard]] bool usable() const; // neither tentative nor found to be a duplicate
    bool operator==(const Address&) const = default;
};

Result<std::vector<Address>> list_addresses();

} // namespace penstock::net
