// Routes of one table, of both address families, as values that core can compare.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace penstock::net {

// rtm_protocol and FRA_PROTOCOL of everything this agent adds; in the range left to user space and in no rt_protos
// file.
inline constexpr std::uint8_t kRouteProtocol = 0xb5;

struct Route {
    enum class Type : std::uint8_t { unicast = 1, local = 2, broadcast = 3, multicast = 5, unreachable = 7, other = 0 };

    IpPrefix destination;
    std::uint32_t table = 0;
    Type type = Type::unicast;
    int oif = 0; // 0: none (unreachable)
    std::optional<IpAddress> gateway;
    std::optional<IpAddress> preferred_source;
    std::uint32_t metric = 0; // 0 is the kernel's default, which is 1024 for IPv6
    std::uint8_t protocol = kRouteProtocol;

    // Two routes the kernel would hold as the same. `other` (several next hops, next-hop objects) equals nothing.
    bool operator==(const Route& that) const;
    [[nodiscard]] std::string str() const;
};

// Replaces what has the same destination, table and metric, whatever its type, in one step.
Status replace_route(const Route& route);
// ESRCH if it is not there.
Status delete_route(const Route& route);
// A table that does not exist is empty. Cached routes (PMTU, redirects) are not listed.
Result<std::vector<Route>> list_routes(std::uint32_t table);

struct RouteLookup {
    int oif = 0;
    std::optional<IpAddress> gateway;
    std::optional<IpAddress> source; // the address the kernel would send from
    Route::Type type = Route::Type::unicast;
};

// Where a packet of the gateway itself with this mark would go now. ENETUNREACH, EHOSTUNREACH: nowhere.
Result<RouteLookup> lookup_route(const IpAddress& destination, std::uint32_t mark);

} // namespace penstock::net
