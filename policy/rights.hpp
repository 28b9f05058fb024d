// What a policy grants and forbids, one right at a time, in words that mean the same in every version of the policy:
// for comparing policies and for finding rules that never matter.
#pragma once

#include "policy/model.hpp"

#include <string>
#include <vector>

namespace penstock::policy {

// One peer of one service with one of its port ranges, as one group allows or denies it.
struct Right {
    bool allow = true;
    Direction direction = Direction::to;
    Peer::Kind kind = Peer::Kind::prefix;
    IpPrefix prefix;
    std::string name; // of the group or device that is the peer
    PortRange ports;
    Require require = Require::none;
    std::optional<Window> when;
    std::uint32_t service = 0, group = 0; // indexes of the policy it comes from; they do not make a difference

    // Is every packet that `other` names named by this one, at any time?
    [[nodiscard]] bool covers(const Right& other) const;
    [[nodiscard]] bool overlaps(const Right& other) const;
    // "may reach 203.0.113.10/32 at tcp/443, with TLS only, mon-fri 06:00-20:00 Europe/Berlin"
    [[nodiscard]] std::string str() const;
    [[nodiscard]] bool same_as(const Right& other) const;
};

// Of a device in these groups, in their order. Rights that can never match (ICMP of the other family) are left out.
std::vector<Right> rights_of(const Policy& policy, const std::vector<std::uint32_t>& groups);

} // namespace penstock::policy
