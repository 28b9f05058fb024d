// PPPoE sessions of the kernel, in the network namespace of the caller. Netlink does not tell them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::net {

struct PppoeSession {
    std::uint16_t id = 0;  // RFC 2516, host byte order
    std::string interface; // whose frames carry it
    bool operator==(const PppoeSession&) const = default;
};

// Of /proc/net/pppoe; what is no session there is passed over.
std::vector<PppoeSession> parse_pppoe_sessions(std::string_view text);
// None where the kernel has no PPPoE.
std::vector<PppoeSession> list_pppoe_sessions();

} // namespace penstock::net
