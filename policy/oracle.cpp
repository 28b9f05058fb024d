#include "policy/oracle.hpp"

#include "policy/window.hpp"

#include <date/tz.h>

#include <algorithm>
#include <sys/socket.h>
#include <vector>

namespace penstock::policy {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17, kIcmp = 1, kIcmpv6 = 58;

std::string in_words(std::uint8_t proto, std::uint16_t port) {
    if (proto == kTcp || proto == kUdp)
        return (proto == kTcp ? "tcp/" : "udp/") + std::to_string(port);
    if (proto == kIcmp || proto == kIcmpv6)
        return PortRange{proto == kIcmp ? Proto::icmp : Proto::icmpv6, port, port}.str();
    return "IP protocol " + std::to_string(proto);
}

// By the library's own calendar, field by field as a person reads a clock.
bool wall_clock_is_in(const Window& window, Time at) {
    const auto local = date::make_zoned(window.zone, at).get_local_time();
    const auto today = date::floor<date::days>(local);
    const auto since_midnight = date::floor<std::chrono::minutes>(local - today).count();
    const auto named = [&](date::local_days day) {
        return (window.days >> (date::weekday(day).iso_encoding() - 1) & 1) != 0;
    };
    const bool over_midnight = window.begin > window.end;
    if (!over_midnight)
        return named(today) && window.begin <= since_midnight && since_midnight < window.end;
    const bool evening = named(today) && since_midnight >= window.begin;
    const bool morning = named(today - date::days(1)) && since_midnight < window.end;
    return evening || morning;
}

const Device* device_with(const Policy& policy, const MacAddress& mac) {
    for (const Device& device : policy.devices)
        if (device.mac == mac)
            return &device;
    return nullptr;
}

const Device* device_at(const Policy& policy, const IpAddress& address) {
    for (const Device& device : policy.devices)
        for (const IpAddress& own : device.addresses)
            if (own == address)
                return &device;
    return nullptr;
}

// Or broadcast, or a destination that is none.
bool is_multicast(const IpAddress& address) {
    if (address.family == AF_INET)
        return address.bytes[0] >= 224 || address.bytes[0] == 0;
    return address.bytes[0] == 0xff;
}

// One end of a flow as the services name it: a device of the policy, or an address behind a tunnel.
struct End {
    IpAddress address;
    const Device* device;
};

bool names(const Policy& policy, const Peer& peer, const End& end) {
    switch (peer.kind) {
    case Peer::Kind::prefix:
        return end.device == nullptr && peer.prefix.contains(end.address);
    case Peer::Kind::group:
        for (const std::uint32_t group : end.device != nullptr ? end.device->groups : std::vector<std::uint32_t>())
            if (group == peer.index)
                return true;
        return false;
    case Peer::Kind::device:
        return end.device == &policy.devices[peer.index];
    }
    return false;
}

bool speaks(const PortRange& range, const Packet& packet) {
    const std::uint8_t proto = packet.proto;
    const std::uint16_t port = packet.destination_port;
    const std::uint8_t foreign = packet.source.family == AF_INET ? kIcmpv6 : kIcmp; // ICMP of the other family
    if (proto == foreign)
        return false;
    if (range.proto == Proto::any)
        return proto == kTcp || proto == kUdp || proto == kIcmp || proto == kIcmpv6;
    return static_cast<std::uint8_t>(range.proto) == proto && range.lo <= port && port <= range.hi;
}

bool service_names(const Policy& policy, const Service& service, const End& peer, const Packet& packet) {
    bool peers = false, ports = false;
    for (const Peer& one : service.peers)
        if (names(policy, one, peer))
            peers = true;
    for (const PortRange& range : service.ports)
        if (speaks(range, packet))
            ports = true;
    return peers && ports;
}

// What the groups of one device say about a flow in that direction between it and the peer.
struct Said {
    const Service *denied = nullptr, *allowed = nullptr, *allowed_if = nullptr; // allowed_if: with a `require`
    const Service* allowed_later = nullptr;                                     // by a group that is not in force now:
    const Group* later = nullptr;
};

void ask(const Policy& policy, Time at, const Device& device, Direction direction, const End& peer,
         const Packet& packet, Said& said) {
    for (const std::uint32_t index : device.groups) {
        const Group& group = policy.groups[index];
        if (group.when && !wall_clock_is_in(*group.when, at)) {
            for (const std::uint32_t service_index : group.allow) {
                const Service& service = policy.services[service_index];
                if (service.direction == direction && service_names(policy, service, peer, packet)) {
                    said.allowed_later = &service;
                    said.later = &group;
                }
            }
            continue;
        }
        for (const std::uint32_t service_index : group.deny) {
            const Service& service = policy.services[service_index];
            if (service.direction == direction && service_names(policy, service, peer, packet))
                said.denied = &service;
        }
        for (const std::uint32_t service_index : group.allow) {
            const Service& service = policy.services[service_index];
            if (service.direction != direction || !service_names(policy, service, peer, packet))
                continue;
            const Service*& first = service.require == Require::none ? said.allowed : said.allowed_if;
            if (first == nullptr)
                first = &service;
        }
    }
}

std::string groups_of(const Policy& policy, const Device& device) {
    std::string out;
    for (const std::uint32_t group : device.groups)
        out += (out.empty() ? "groups." : ", groups.") + policy.groups[group].name + " (" +
               policy.cite(policy.groups[group].at) + ")";
    return out;
}

Verdict refuse(Reason reason, const Device* device, const std::string& why) {
    return {false, reason, Require::none, false, device != nullptr ? device->name : "", "", "denied: " + why};
}

// device: whose rules a person asked about.
Verdict conclude(const Policy& policy, const Device& device, const Said& said, const Packet& packet) {
    const auto cited = [&](const Service& service) {
        return "services." + service.name + " (" + policy.cite(service.at) + ") of " + policy.title();
    };
    if (said.denied != nullptr) {
        Verdict out = refuse(Reason::denied, &device, "by " + cited(*said.denied));
        out.service = said.denied->name;
        return out;
    }
    const Service* service = said.allowed != nullptr ? said.allowed : said.allowed_if;
    if (service != nullptr)
        return {true,
                Reason::allowed,
                service->require,
                false,
                device.name,
                service->name,
                "allowed by " + cited(*service) +
                    (service->require == Require::none
                         ? ""
                         : ", if it speaks " + std::string(require_name(service->require)))};
    if (said.later != nullptr)
        return refuse(Reason::not_allowed, &device,
                      "now; " + cited(*said.allowed_later) + " is allowed by groups." + said.later->name + " (" +
                          policy.cite(said.later->at) + ") only " + days_text(*said.later->when) + " " +
                          hours_text(*said.later->when) + " " + said.later->when->zone);
    const bool outgoing = packet.came == Came::from_device;
    return refuse(Reason::not_allowed, &device,
                  "nothing that " + groups_of(policy, device) + (device.groups.size() == 1 ? " allows" : " allow") +
                      (outgoing ? " reaches " + packet.destination.str() + " "
                                : " lets " + packet.source.str() + " reach it at ") +
                      in_words(packet.proto, packet.destination_port) + "; " + policy.title());
}

} // namespace

std::string_view reason_name(Reason reason) {
    switch (reason) {
    case Reason::allowed:
        return "allowed";
    case Reason::unknown_device:
        return "unknown_device";
    case Reason::wrong_interface:
        return "wrong_interface";
    case Reason::spoofed_address:
        return "spoofed_address";
    case Reason::multicast:
        return "multicast";
    case Reason::not_allowed:
        return "not_allowed";
    case Reason::denied:
        return "denied";
    case Reason::no_flow:
        return "no_flow";
    case Reason::fragment:
        return "fragment";
    case Reason::not_tls:
        return "not_tls";
    case Reason::not_dtls:
        return "not_dtls";
    }
    return "?";
}

Verdict judge(const Policy& policy, Time at, const Packet& packet) {
    Said said;
    const Device* target = device_at(policy, packet.destination);
    if (packet.came == Came::out_of_tunnel) {
        if (target == nullptr)
            return refuse(Reason::unknown_device, nullptr,
                          "no device of " + policy.title() + " has the address " + packet.destination.str());
        if (const Device* liar = device_at(policy, packet.source))
            return refuse(Reason::spoofed_address, target,
                          packet.source.str() + " is an address of devices." + liar->name + " (" +
                              policy.cite(liar->at) + "), which is on a LAN; " + policy.title());
        ask(policy, at, *target, Direction::from, {packet.source, nullptr}, packet, said);
        return conclude(policy, *target, said, packet);
    }

    const Device* device = device_with(policy, packet.mac);
    if (device == nullptr)
        return refuse(Reason::unknown_device, nullptr,
                      "no device of " + policy.title() + " has the MAC " + packet.mac.str());
    if (!device->interface.empty() && !packet.interface.empty() && packet.interface != device->interface)
        return refuse(Reason::wrong_interface, device,
                      "devices." + device->name + " (" + policy.cite(device->at) + ") belongs on " + device->interface +
                          ", not on " + packet.interface + "; " + policy.title());
    if (device_at(policy, packet.source) != device)
        return refuse(Reason::spoofed_address, device,
                      packet.source.str() + " is not an address of devices." + device->name + " (" +
                          policy.cite(device->at) + ") of " + policy.title());
    if (is_multicast(packet.destination))
        return refuse(Reason::multicast, device, "multicast and broadcast do not leave the LAN; " + policy.title());
    ask(policy, at, *device, Direction::to, {packet.destination, target}, packet, said);
    if (target != nullptr) // both ends have a say: one that allows is enough, none may deny
        ask(policy, at, *target, Direction::from, {packet.source, device}, packet, said);
    Verdict out = conclude(policy, *device, said, packet);
    out.on_lan = target != nullptr;
    return out;
}

Result<Question> read_question(std::string_view device, std::string_view to, std::string_view from,
                               std::string_view proto, std::uint64_t port) {
    if (to.empty() == from.empty())
        return fail("say either where the device sends to, or where something comes from that is for the device");
    const auto other = IpAddress::parse(to.empty() ? from : to);
    if (!other)
        return tl::unexpected(other.error());
    const auto known = proto_from_name(proto);
    if (!known || *known == Proto::any)
        return fail("the protocol must be tcp, udp, icmp or icmpv6");
    const bool icmp = *known == Proto::icmp || *known == Proto::icmpv6;
    if (icmp && (*known == Proto::icmp) != (other->family == AF_INET))
        return fail(std::string(proto_name(*known)) + " is not a protocol of " + other->str() + "'s family");
    if (icmp && port == 0)
        port = *icmp_type_from_name(*known, "echo-request");
    if (port == 0)
        return fail(std::string(proto_name(*known)) + " needs a port: --port, 1 to 65535");
    if (port > (icmp ? 255U : 65535U))
        return fail(icmp ? "an ICMP type is at most 255" : "the port must be 1 to 65535");
    return Question{std::string(device), to.empty() ? Direction::from : Direction::to, *other, *known,
                    static_cast<std::uint16_t>(port)};
}

Result<Verdict> explain(const Policy& policy, Time at, const Question& question) {
    const Device* device = policy.find_device(question.device);
    if (device == nullptr) {
        std::vector<std::string_view> names;
        names.reserve(policy.devices.size());
        for (const Device& candidate : policy.devices)
            names.push_back(candidate.name);
        return fail("no device " + quote(question.device) + " in " + policy.title() +
                    did_you_mean(question.device, names));
    }
    const bool outgoing = question.direction == Direction::to;
    for (const IpAddress& address : device->addresses) {
        if (address.family != question.other.family)
            continue;
        Packet packet{.proto = static_cast<std::uint8_t>(question.proto), .destination_port = question.port};
        packet.source = outgoing ? address : question.other;
        packet.destination = outgoing ? question.other : address;
        packet.mac = device->mac;
        if (const Device* sender = outgoing ? device : device_at(policy, question.other))
            packet.mac = sender->mac; // one device to another
        else
            packet.came = Came::out_of_tunnel;
        return judge(policy, at, packet);
    }
    const bool ipv4 = question.other.family == AF_INET;
    if (device->learns()) { // as if it had learnt one: the dummy address of RFC 7600, the discard prefix of RFC 6666
        Policy learnt = policy;
        learnt.devices[static_cast<std::size_t>(device - policy.devices.data())].addresses = {
            IpAddress::parse(ipv4 ? "192.0.0.8" : "100::1").value()};
        auto verdict = explain(learnt, at, question);
        if (verdict && verdict->allow)
            verdict->citation += ipv4 ? "; once it has learnt an IPv4 address" : "; once it has learnt an IPv6 address";
        return verdict;
    }
    return refuse(Reason::not_allowed, device,
                  "devices." + device->name + " (" + policy.cite(device->at) + ") has no " +
                      (ipv4 ? "IPv4 address; " : "IPv6 address; ") + policy.title());
}

} // namespace penstock::policy
