// The rule book as values: what a fleet's devices may reach, and the line of the authoring YAML each part came from.
#pragma once

#include "agent/base/ip.hpp"
#include "policy/text.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::policy {

// A line of one of Policy::files.
struct Source {
    std::uint32_t file = 0;
    std::uint32_t line = 0; // from 1
    auto operator<=>(const Source&) const = default;
};

enum class Proto : std::uint8_t { any = 0, icmp = 1, tcp = 6, udp = 17, icmpv6 = 58 }; // IANA protocol numbers

// Destination ports of TCP or UDP, or types of ICMP: host byte order, lo <= hi, both included.
struct PortRange {
    Proto proto = Proto::tcp;
    std::uint16_t lo = 0; // any and a protocol alone: everything, 0-65535 (ICMP: 0-255)
    std::uint16_t hi = 0;
    [[nodiscard]] std::string str() const; // "tcp/443", "udp/5000-5100", "tcp", "icmp/echo-request", "any"
    auto operator<=>(const PortRange&) const = default;
};

// One item of a service's `to` or `from`. A prefix lies behind a tunnel; a group or a device is on a LAN.
struct Peer {
    enum class Kind : std::uint8_t { prefix, group, device };
    Kind kind = Kind::prefix;
    IpPrefix prefix;
    std::uint32_t index = 0; // of Policy::groups or Policy::devices
    auto operator<=>(const Peer&) const = default;
};

enum class Direction : std::uint8_t { to, from };      // who begins: the device, or the peer
enum class Require : std::uint8_t { none, tls, dtls }; // what the flow must speak

struct Service {
    std::string name;
    Direction direction = Direction::to;
    std::vector<Peer> peers;
    std::vector<PortRange> ports; // of the one who is reached: the peer (to) or the device (from)
    Require require = Require::none;
    Source at;
    bool operator==(const Service&) const = default;
};

// In force while the clock on the wall of `zone` shows one of the days and a time in [begin, end). A window over
// midnight belongs to the day on which it begins.
struct Window {
    std::uint8_t days = 0x7f;            // bit 0: Monday ... bit 6: Sunday
    std::uint16_t begin = 0, end = 1440; // minutes of the day; begin > end: over midnight; never equal
    std::string zone;                    // IANA
    bool operator==(const Window&) const = default;
};

// What a device may have of the gateway itself on its LAN. A group's word stands before the policy's.
struct LanChoice {
    std::optional<bool> arp_nd, dhcp, dns, ntp;
    bool operator==(const LanChoice&) const = default;
};

struct Group {
    std::string name;
    std::vector<std::uint32_t> allow; // indexes of Policy::services
    std::vector<std::uint32_t> deny;  // the same; wins over every allow
    std::uint64_t rate = 0;           // bytes a second of each device; 0: no limit
    std::uint64_t packet_rate = 0;    // packets a second of each device
    std::uint64_t total_rate = 0;     // bytes a second of all its devices together
    std::optional<Window> when;
    LanChoice lan;
    Source at;
    bool operator==(const Group&) const = default;
};

struct Device {
    std::string name;
    MacAddress mac;
    std::vector<IpAddress> addresses;  // each belongs to one device; empty: learnt
    std::vector<std::uint32_t> groups; // indexes of Policy::groups, at least one
    std::string interface;             // the LAN it must be seen on; empty: any
    Source at;
    [[nodiscard]] bool learns() const { return addresses.empty(); }
    bool operator==(const Device&) const = default;
};

// Only the readers of yaml.hpp and payload.hpp make one, so every index is valid, every list sorted and no name,
// MAC or address is there twice.
struct Policy {
    std::string fleet;
    std::uint64_t version = 0;
    std::optional<Time> not_before; // none: valid at once
    Time expires;
    std::vector<std::string> gateways; // globs
    std::vector<std::string> files;    // the authoring YAML, for citations
    LanChoice lan;
    std::vector<Service> services; // sorted by name, like groups and devices
    std::vector<Group> groups;
    std::vector<Device> devices;

    [[nodiscard]] bool is_for_gateway(std::string_view name) const;
    [[nodiscard]] const Device* find_device(std::string_view name) const; // nullptr: none
    [[nodiscard]] std::string cite(Source at) const;                      // "policy.yaml:7"
    [[nodiscard]] std::string title() const;                              // "acme-berlin version 42"
    [[nodiscard]] std::string str(const Peer& peer) const;                // "10.0.0.0/8", "group:cameras"
    bool operator==(const Policy&) const = default;
};

std::string_view proto_name(Proto proto);                    // "tcp", "icmpv6", "any"
std::optional<Proto> proto_from_name(std::string_view name); // lower case only
std::string_view require_name(Require require);              // "tls", "dtls" or ""

// Names of ICMP types that the rule book knows: "echo-request". By number or by name, empty if there is none.
std::string_view icmp_type_name(Proto proto, std::uint16_t type);
std::optional<std::uint16_t> icmp_type_from_name(Proto proto, std::string_view name);

} // namespace penstock::policy
