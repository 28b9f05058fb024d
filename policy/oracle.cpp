#include "policy/oracle.hpp"

#include <algorithm>
#include <sys/socket.h>
#include <vector>

namespace penstock::policy {
namespace {

std::string in_words(std::uint8_t proto, std::uint16_t port) {
    if (proto == static_cast<std::uint8_t>(Proto::tcp))
        return "tcp/" + std::to_string(port);
    if (proto == static_cast<std::uint8_t>(Proto::udp))
        return "udp/" + std::to_string(port);
    return "IP protocol " + std::to_string(proto);
}

bool service_allows(const Service& service, const IpAddress& to, std::uint8_t proto, std::uint16_t port) {
    bool address = false;
    for (const IpPrefix& prefix : service.to)
        if (prefix.contains(to))
            address = true;
    bool ports = false;
    for (const PortRange& range : service.ports)
        if (static_cast<std::uint8_t>(range.proto) == proto && range.lo <= port && port <= range.hi)
            ports = true;
    return address && ports;
}

} // namespace

std::string_view reason_name(Reason reason) {
    switch (reason) {
    case Reason::allowed:
        return "allowed";
    case Reason::unknown_device:
        return "unknown_device";
    case Reason::spoofed_address:
        return "spoofed_address";
    case Reason::not_allowed:
        return "not_allowed";
    }
    return "?";
}

Verdict judge(const Policy& policy, const Packet& packet) {
    const Device* device = nullptr;
    for (const Device& candidate : policy.devices)
        if (candidate.mac == packet.mac)
            device = &candidate;
    if (device == nullptr)
        return {false, Reason::unknown_device, "", "",
                "denied: no device of " + policy.title() + " has the MAC " + packet.mac.str()};

    bool own_address = false;
    for (const IpAddress& address : device->addresses)
        if (address == packet.source)
            own_address = true;
    if (!own_address)
        return {false, Reason::spoofed_address, device->name, "",
                "denied: " + packet.source.str() + " is not an address of devices." + device->name + " (" +
                    policy.cite(device->at) + ") of " + policy.title()};

    const Group& group = policy.groups[device->group];
    for (const std::uint32_t index : group.allow) {
        const Service& service = policy.services[index];
        if (service_allows(service, packet.destination, packet.proto, packet.port))
            return {true, Reason::allowed, device->name, service.name,
                    "allowed by services." + service.name + " (" + policy.cite(service.at) + ") of " + policy.title()};
    }
    return {false, Reason::not_allowed, device->name, "",
            "denied: nothing that groups." + group.name + " (" + policy.cite(group.at) + ") allows reaches " +
                packet.destination.str() + " " + in_words(packet.proto, packet.port) + "; " + policy.title()};
}

Result<Verdict> explain(const Policy& policy, std::string_view device_name, const IpAddress& to, Proto proto,
                        std::uint16_t port) {
    const Device* device = policy.find_device(device_name);
    if (device == nullptr) {
        std::vector<std::string_view> names;
        names.reserve(policy.devices.size());
        for (const Device& candidate : policy.devices)
            names.push_back(candidate.name);
        return fail("no device " + quote(device_name) + " in " + policy.title() + did_you_mean(device_name, names));
    }
    for (const IpAddress& address : device->addresses)
        if (address.family == to.family)
            return judge(policy, {device->mac, address, to, static_cast<std::uint8_t>(proto), port});
    return Verdict{false, Reason::not_allowed, device->name, "",
                   "denied: devices." + device->name + " (" + policy.cite(device->at) + ") has no " +
                       (to.family == AF_INET ? "IPv4" : "IPv6") + " address to send from; " + policy.title()};
}

} // namespace penstock::policy
