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

enum class Proto : std::uint8_t { tcp = 6, udp = 17 }; // IANA protocol numbers

struct PortRange {
    Proto proto = Proto::tcp;
    std::uint16_t lo = 0; // host byte order, 1..65535, lo <= hi
    std::uint16_t hi = 0;
    [[nodiscard]] std::string str() const; // "tcp/443", "udp/5000-5100"
    auto operator<=>(const PortRange&) const = default;
};

struct Service {
    std::string name;
    std::vector<IpPrefix> to;
    std::vector<PortRange> ports;
    Source at;
    bool operator==(const Service&) const = default;
};

struct Group {
    std::string name;
    std::vector<std::uint32_t> allow; // indexes of Policy::services
    Source at;
    bool operator==(const Group&) const = default;
};

struct Device {
    std::string name;
    MacAddress mac;
    std::vector<IpAddress> addresses; // at least one; each belongs to one device
    std::uint32_t group = 0;          // index of Policy::groups
    Source at;
    bool operator==(const Device&) const = default;
};

// Only the readers of yaml.hpp and payload.hpp make one, so every index is valid, every list sorted and no name,
// MAC or address is there twice.
struct Policy {
    std::string fleet;
    std::uint64_t version = 0;
    Time expires;
    std::vector<std::string> gateways; // globs
    std::vector<std::string> files;    // the authoring YAML, for citations
    std::vector<Service> services;     // sorted by name, like groups and devices
    std::vector<Group> groups;
    std::vector<Device> devices;

    [[nodiscard]] bool is_for_gateway(std::string_view name) const;
    [[nodiscard]] const Device* find_device(std::string_view name) const; // nullptr: none
    [[nodiscard]] std::string cite(Source at) const;                      // "policy.yaml:7"
    [[nodiscard]] std::string title() const;                              // "acme-berlin version 42"
    bool operator==(const Policy&) const = default;
};

std::string_view proto_name(Proto proto);                    // "tcp" or "udp"
std::optional<Proto> proto_from_name(std::string_view name); // lower case only

} // namespace penstock::policy
