#include "policy/rights.hpp"

#include "policy/window.hpp"

#include <sys/socket.h>

namespace penstock::policy {
namespace {

bool ports_cover(const PortRange& a, const PortRange& b) {
    return a.proto == Proto::any || (a.proto == b.proto && a.lo <= b.lo && b.hi <= a.hi);
}

bool ports_overlap(const PortRange& a, const PortRange& b) {
    return a.proto == Proto::any || b.proto == Proto::any || (a.proto == b.proto && a.lo <= b.hi && b.lo <= a.hi);
}

bool other_family(const Peer& peer, Proto proto) {
    if (peer.kind != Peer::Kind::prefix)
        return false;
    return proto == (peer.prefix.address.family == AF_INET ? Proto::icmpv6 : Proto::icmp);
}

void add(const Policy& policy, std::uint32_t group, std::uint32_t index, bool allow, std::vector<Right>& out) {
    const Service& service = policy.services[index];
    for (const Peer& peer : service.peers)
        for (const PortRange& ports : service.ports) {
            if (other_family(peer, ports.proto))
                continue;
            Right right{.allow = allow,
                        .direction = service.direction,
                        .kind = peer.kind,
                        .prefix = peer.prefix,
                        .name = {},
                        .ports = ports,
                        .require = allow ? service.require : Require::none,
                        .when = policy.groups[group].when,
                        .service = index,
                        .group = group};
            if (peer.kind == Peer::Kind::group)
                right.name = policy.groups[peer.index].name;
            if (peer.kind == Peer::Kind::device)
                right.name = policy.devices[peer.index].name;
            out.push_back(std::move(right));
        }
}

} // namespace

bool Right::covers(const Right& other) const {
    return direction == other.direction && kind == other.kind && name == other.name &&
           (kind != Peer::Kind::prefix || prefix.contains(other.prefix)) && ports_cover(ports, other.ports) &&
           (!when || when == other.when);
}

bool Right::overlaps(const Right& other) const {
    return direction == other.direction && kind == other.kind && name == other.name &&
           (kind != Peer::Kind::prefix || prefix.overlaps(other.prefix)) && ports_overlap(ports, other.ports);
}

bool Right::same_as(const Right& other) const {
    return allow == other.allow && require == other.require && when == other.when && covers(other) &&
           other.covers(*this);
}

std::string Right::str() const {
    const std::string whom = kind == Peer::Kind::prefix  ? prefix.str()
                             : kind == Peer::Kind::group ? "the devices of " + name
                                                         : "the device " + name;
    std::string text = allow ? "may " : "must not ";
    text += direction == Direction::to ? "reach " + whom + " at " + ports.str()
                                       : "be reached by " + whom + " at " + ports.str();
    if (require != Require::none)
        text += require == Require::tls ? ", with TLS only" : ", with DTLS only";
    if (when)
        text += ", " + days_text(*when) + " " + hours_text(*when) + " " + when->zone;
    return text;
}

std::vector<Right> rights_of(const Policy& policy, const std::vector<std::uint32_t>& groups) {
    std::vector<Right> out;
    for (const auto group : groups) {
        for (const auto service : policy.groups[group].allow)
            add(policy, group, service, true, out);
        for (const auto service : policy.groups[group].deny)
            add(policy, group, service, false, out);
    }
    return out;
}

} // namespace penstock::policy
