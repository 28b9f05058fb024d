#include "policy/not_yet.hpp"

#include <algorithm>

namespace penstock::policy {
namespace {

// Empty if the gate can do all of it.
std::string beyond(const Service& service) {
    if (service.direction == Direction::from)
        return "from";
    if (service.require != Require::none)
        return "require";
    for (const Peer& peer : service.peers)
        if (peer.kind != Peer::Kind::prefix)
            return "to: a group or a device";
    for (const PortRange& ports : service.ports)
        if (ports.proto != Proto::tcp && ports.proto != Proto::udp)
            return "ports: " + ports.str();
    return "";
}

std::string beyond(const LanChoice& lan) {
    return lan.arp_nd == false ? "lan.arp_nd: off"
           : lan.dhcp == true  ? "lan.dhcp: on"
           : lan.dns == true   ? "lan.dns: on"
           : lan.ntp == true   ? "lan.ntp: on"
                               : "";
}

std::string beyond(const Group& group) {
    if (!group.deny.empty())
        return "deny";
    if (group.rate != 0 || group.packet_rate != 0 || group.total_rate != 0)
        return group.rate != 0 ? "rate" : group.packet_rate != 0 ? "packet_rate" : "total_rate";
    return beyond(group.lan);
}

std::string beyond(const Device& device) {
    return device.learns() ? "addresses: learn" : device.interface.empty() ? "" : "interface";
}

template <class T> Status check(const Policy& policy, const std::string& kind, const std::vector<T>& items) {
    for (const T& item : items)
        if (const auto what = beyond(item); !what.empty())
            return fail(policy.cite(item.at) + ": " + kind + "." + item.name + "." + what +
                        " is not supported by this version of penstock yet; remove it");
    return {};
}

} // namespace

Status check_supported(const Policy& policy) {
    if (const auto what = beyond(policy.lan); !what.empty())
        return fail(what + " is not supported by this version of penstock yet; remove it");
    if (auto ok = check(policy, "services", policy.services); !ok)
        return ok;
    if (auto ok = check(policy, "groups", policy.groups); !ok)
        return ok;
    return check(policy, "devices", policy.devices);
}

} // namespace penstock::policy
