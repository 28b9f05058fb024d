// What of the gateway's own may leave in clear while the gate is closed, beyond what the packet path knows by itself:
// IKE and ESP of penstock-ike (by its mark), ARP, neighbour discovery, MLD and DHCP of the uplink.
//
// Each is a service: a protocol and a port, the networks it may speak with, and an owner, the cgroup in which its
// socket was made. Another process at the same port is not the service.
#pragma once

#include "agent/core/config.hpp"
#include "agent/datapath/gate.hpp"

#include <optional>
#include <string>
#include <vector>

namespace penstock::core {

class Section;

// A service that people know by name.
struct KnownService {
    const char* name;
    std::vector<std::uint8_t> protos;
    std::vector<std::uint16_t> ports; // none: the one of [api] listen
    bool local;                       // see Essential
    bool anywhere;                    // needs no networks: it speaks before there is an address
    std::vector<const char*> units;   // Debian's, below /system.slice
};
const std::vector<KnownService>& known_services();

// One [[essential]] of the configuration. api_port: of [api] listen, if there is that section.
Essential read_essential(Section& section, std::optional<std::uint16_t> api_port);

// An essential as it stands now.
struct EssentialState {
    std::string name;
    std::vector<std::string> owners; // those of its cgroups that exist
    std::string problem;             // why it cannot work; empty where it can
    bool operator==(const EssentialState&) const = default;
};

struct ResolvedEssentials {
    std::vector<datapath::EssentialRule> rules;
    std::vector<EssentialState> states;
};
// Looks every owner up anew: a service that started again has another cgroup.
ResolvedEssentials resolve(const std::vector<Essential>& essentials);

// Is DHCP among them, so that only its owner may speak it?
bool owns_dhcp(const std::vector<Essential>& essentials);

} // namespace penstock::core
