// Policy routing rules (ip rule) as values that core can compare.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"
#include "agent/net/routes.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace penstock::net {

inline constexpr std::uint32_t kLocalTable = 255; // the kernel's own: addresses of this machine
inline constexpr std::uint32_t kMainTable = 254;

struct Rule {
    enum class Action : std::uint8_t { lookup, unreachable, other };

    int family = 0; // AF_INET or AF_INET6
    std::uint32_t priority = 0;
    std::optional<std::string> iif; // "lo": sent by this machine. By name: holds also for an interface that comes later
    std::optional<std::string> oif;
    std::optional<IpPrefix> from;
    std::optional<IpPrefix> to;
    std::optional<std::pair<std::uint32_t, std::uint32_t>> fwmark; // value, mask
    bool invert = false;                                           // applies where the selectors do not match
    Action action = Action::lookup;
    std::uint32_t table = 0; // of lookup
    std::uint8_t protocol = kRouteProtocol;
    bool foreign = false; // listed only: it has selectors this struct does not hold; equals no rule without them

    bool operator==(const Rule&) const = default;
    [[nodiscard]] std::string str() const;
};

// EEXIST if the same rule is there.
Status add_rule(const Rule& rule);
// The first rule with this priority, action, table, protocol and selectors; a selector left out matches any. ENOENT.
Status delete_rule(const Rule& rule);
// Both families, in the order the kernel asks them.
Result<std::vector<Rule>> list_rules();

} // namespace penstock::net
