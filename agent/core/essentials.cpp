#include "agent/core/essentials.hpp"

#include "agent/base/cgroup.hpp"
#include "agent/core/config_section.hpp"
#include "bpf/penstock_abi.h"

#include <algorithm>
#include <netinet/in.h>
#include <sys/socket.h>

namespace penstock::core {
namespace {

constexpr std::uint16_t kDhcpPort = 67;

const KnownService* find_service(const std::string& name) {
    const auto& table = known_services();
    const auto found = std::ranges::find(table, name, &KnownService::name);
    return found == table.end() ? nullptr : &*found;
}

std::string service_names() {
    std::string out;
    for (const auto& service : known_services())
        out += (out.empty() ? "" : ", ") + std::string(service.name);
    return out;
}

void take_from(const KnownService& service, std::optional<std::uint16_t> api_port, Essential& essential) {
    essential.protos = service.protos;
    essential.ports = service.ports;
    if (service.ports.empty() && api_port)
        essential.ports = {*api_port};
    essential.local = service.local;
    if (essential.cgroups.empty())
        for (const auto* unit : service.units)
            essential.cgroups.push_back(std::string("/system.slice/") + unit);
    if (service.anywhere && essential.networks.empty())
        essential.networks = {{IpAddress{AF_INET, {}}, 0}, {IpAddress{AF_INET6, {}}, 0}};
}

} // namespace

// The one table. What is neither here nor spelt out in the configuration does not leave.
const std::vector<KnownService>& known_services() {
    static const std::vector<KnownService> table = {
        {"ssh", {IPPROTO_TCP}, {22}, true, false, {"ssh.service", "ssh.socket", "sshd.service"}},
        {"ntp", {IPPROTO_UDP}, {123}, false, false, {"systemd-timesyncd.service", "chrony.service", "ntpsec.service"}},
        {"dns", {IPPROTO_UDP, IPPROTO_TCP}, {53}, false, false, {"systemd-resolved.service", "unbound.service"}},
        {"dhcp",
         {IPPROTO_UDP},
         {kDhcpPort, 547},
         false,
         true,
         {"systemd-networkd.service", "NetworkManager.service", "networking.service", "dhcpcd.service"}},
        // Package updates, CRL and OCSP.
        {"web", {IPPROTO_TCP}, {80, 443}, false, false, {"apt-daily.service", "apt-daily-upgrade.service"}},
        {"api", {IPPROTO_TCP}, {}, true, false, {"penstock-api.service"}},
    };
    return table;
}

Essential read_essential(Section& section, std::optional<std::uint16_t> api_port) {
    Essential essential;
    std::string service;
    std::uint32_t local = 0, remote = 0;
    section.read("name", essential.name, Section::Need::required);
    section.read("service", service);
    section.read_list("cgroups", essential.cgroups);
    section.read_choice("proto", {{"tcp", [&] { essential.protos = {IPPROTO_TCP}; }},
                                  {"udp", [&] { essential.protos = {IPPROTO_UDP}; }}});
    section.read("local_port", local, 1, 65535);
    section.read("remote_port", remote, 1, 65535);
    const auto* known = find_service(service);
    section.read_list("networks", essential.networks,
                      known != nullptr && known->anywhere ? Section::Need::optional : Section::Need::required);
    section.refuse_unknown_keys();

    for (const auto& cgroup : essential.cgroups)
        if (cgroup.size() < 2 || cgroup.front() != '/' || cgroup.find("/..") != std::string::npos)
            section.complain("cgroups", "a cgroup is a path below the mount of cgroup v2, such as "
                                        "\"/system.slice/ssh.service\"; the root would be everybody");
    if (!service.empty()) {
        if (known == nullptr)
            section.complain("service", "there is no service \"" + service + "\"; known are " + service_names());
        else if (!essential.protos.empty() || local != 0 || remote != 0)
            section.complain("service", "service \"" + service + "\" says protocol and port already");
        else if (known->ports.empty() && !api_port)
            section.complain("service",
                             "service \"" + service + "\" needs an [api] section, whose listen names the port");
        else
            take_from(*known, api_port, essential);
        return essential;
    }
    if (essential.protos.empty() || (local != 0) == (remote != 0) || essential.cgroups.empty())
        section.complain("name", "essential " + essential.name + " needs a service (" + service_names() +
                                     "), or proto, cgroups and either local_port or remote_port");
    essential.ports = {static_cast<std::uint16_t>(local != 0 ? local : remote)};
    essential.local = local != 0;
    return essential;
}

ResolvedEssentials resolve(const std::vector<Essential>& essentials) {
    ResolvedEssentials out;
    if (essentials.empty())
        return out;
    const auto mount = find_cgroup_mount();
    for (const auto& essential : essentials) {
        EssentialState state{.name = essential.name, .owners = {}, .problem = {}};
        for (const auto& cgroup : essential.cgroups) {
            const auto id = mount ? cgroup_id(*mount, cgroup) : tl::unexpected(mount.error());
            if (!id)
                continue;
            state.owners.push_back(cgroup);
            for (const auto& network : essential.networks)
                for (const auto proto : essential.protos)
                    for (const auto port : essential.ports)
                        out.rules.push_back({.network = network,
                                             .cgroup = *id,
                                             .proto = proto,
                                             .port = port,
                                             .local = essential.local});
        }
        if (!mount)
            state.problem = mount.error().message() + ": its owner cannot be known";
        else if (state.owners.empty())
            state.problem = "none of its cgroups exists: the service does not run";
        else if (out.rules.size() > PENSTOCK_MAX_ESSENTIALS)
            state.problem = "more than " + std::to_string(PENSTOCK_MAX_ESSENTIALS) +
                            " combinations of owner, network and port in all essentials";
        out.states.push_back(std::move(state));
    }
    if (out.rules.size() > PENSTOCK_MAX_ESSENTIALS)
        out.rules.resize(PENSTOCK_MAX_ESSENTIALS);
    return out;
}

bool owns_dhcp(const std::vector<Essential>& essentials) {
    return std::ranges::any_of(essentials, [](const Essential& essential) {
        return !essential.local && std::ranges::find(essential.ports, kDhcpPort) != essential.ports.end();
    });
}

} // namespace penstock::core
