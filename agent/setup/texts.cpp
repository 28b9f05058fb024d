#include "agent/setup/texts.hpp"

#include <algorithm>
#include <linux/if.h>
#include <netinet/in.h>

namespace penstock::setup {
namespace {

std::string toml(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        out += c == '\n' || c == '\t' ? ' ' : c;
    }
    return out + "\"";
}

template <class T, class Text> std::string joined(const std::vector<T>& items, const char* between, Text text) {
    std::string out;
    for (const auto& item : items)
        out += (out.empty() ? "" : between) + text(item);
    return out;
}

std::string plain(const IpPrefix& prefix) { return prefix.str(); }

std::string toml_list(const std::vector<std::string>& items) { return "[" + joined(items, ", ", toml) + "]"; }
std::string toml_list(const std::vector<IpPrefix>& items) {
    return "[" + joined(items, ", ", [](const auto& item) { return toml(item.str()); }) + "]";
}

// libipsec, the ESP of kernels without any, has no extended sequence numbers: the cloud offers both.
std::string cloud_proposals(const std::string& ours) {
    std::string without = ours;
    for (auto at = without.find("-esn"); at != std::string::npos; at = without.find("-esn"))
        without.erase(at, 4);
    return without == ours ? ours : ours + "," + without;
}

std::string addresses_of(const core::NetworkView& network, int ifindex) {
    std::string out;
    for (const auto& address : network.addresses)
        if (address.ifindex == ifindex)
            out += (out.empty() ? "" : " ") + address.address.str() + "/" + std::to_string(address.prefix_length);
    return out;
}

std::string described(const core::NetworkView& network, const std::string& name) {
    const auto* link = network.find(name);
    const auto addresses = link != nullptr ? addresses_of(network, link->index) : "not there yet";
    return name + (addresses.empty() ? "" : " (" + addresses + ")");
}

bool is_listed(const core::Config& config, const IpAddress& from) {
    constexpr std::uint16_t kSsh = 22;
    return std::ranges::any_of(config.essentials, [&](const core::Essential& essential) {
        return essential.local && std::ranges::find(essential.ports, kSsh) != essential.ports.end() &&
               std::ranges::any_of(essential.networks, [&](const IpPrefix& network) { return network.contains(from); });
    });
}

} // namespace

std::string ca_name(std::size_t index) { return index == 0 ? "ca.pem" : "ca-" + std::to_string(index + 1) + ".pem"; }

std::string config_text(const Answers& answers) {
    std::vector<std::string> ca;
    ca.reserve(answers.ca.size());
    for (std::size_t i = 0; i < answers.ca.size(); i++)
        ca.push_back(ca_name(i));
    std::string essentials;
    for (const auto& [service, networks] : answers.services)
        if (!networks.empty())
            essentials += "\n[[essential]]\nname = " + toml(service) + "\nservice = " + toml(service) +
                          "\nnetworks = " + toml_list(networks) + "\n";
    return "# Made by `penstock setup`; penstock.toml(5) has every key. After a change: penstockd --check-config FILE\n"
           "[gateway]\nname = " +
           toml(answers.gateway) + "\n\n[lan]\ninterfaces = " + toml_list(answers.lan) +
           "\n\n[uplink]\ninterfaces = " + toml_list(answers.uplink) + "\nhost_egress = \"closed\"\n" + essentials +
           "\n[ike]\ncertificate = " + toml(kCertificate) + "\nprivate_key = " + toml(kPrivateKey) +
           "\nca = " + toml_list(ca) + "\nuser = " + toml(answers.user) +
           "\n\n[[tunnel]]\nname = " + toml(answers.tunnel) + "\npeer = " + toml(answers.peer.str()) +
           "\nlocal_id = " + toml(answers.local_id) + "\nremote_id = " + toml(answers.remote_id) +
           "\nlocal_networks = " + toml_list(answers.local_networks) +
           "\nremote_networks = " + toml_list(answers.remote_networks) + "\n\n[policy]\nroot = " + toml(kRoot) + "\n";
}

std::string cloud_side(const core::Config& config) {
    std::string out = "# The cloud's side of " + config.gateway +
                      ", for swanctl.conf there. cloud.pem: the cloud's certificate; ca.pem: the CA of the gateway's.\n"
                      "connections {\n";
    for (const auto& tunnel : config.tunnels)
        out += "    " + config.gateway + "-" + tunnel.name +
               " {\n        version = 2\n        local_addrs = " + tunnel.peer.str() +
               "\n        proposals = " + tunnel.ike_proposal +
               "\n        dpd_delay = 30s\n        local {\n            auth = pubkey\n            certs = cloud.pem\n"
               "            id = \"" +
               tunnel.remote_id +
               "\"\n        }\n        remote {\n            auth = pubkey\n            cacerts = ca.pem\n"
               "            id = \"" +
               tunnel.local_id +
               "\"\n        }\n        children {\n            devices {\n                local_ts = " +
               joined(tunnel.remote_networks, ",", plain) +
               "\n                remote_ts = " + joined(tunnel.local_networks, ",", plain) +
               "\n                esp_proposals = " + cloud_proposals(tunnel.esp_proposal) +
               "\n                dpd_action = clear\n            }\n        }\n    }\n";
    return out + "}\n";
}

std::string interfaces_text(const core::NetworkView& network) {
    std::string out;
    for (const auto& link : network.links) {
        if ((link.flags & IFF_LOOPBACK) != 0)
            continue;
        const bool way_out = std::ranges::any_of(network.main_routes, [&](const net::Route& route) {
            return route.destination.length == 0 && route.oif == link.index;
        });
        out += "  " + described(network, link.name) + (link.kind.empty() ? "" : " " + link.kind) +
               (link.up() ? "" : " off") + (way_out ? " - the way out" : "") + "\n";
    }
    return out;
}

std::string what_is_blocked(const core::Config& config, const core::NetworkView& network, const Login& login) {
    std::string out = "When the gate is closed:\n";
    const auto remote = joined(config.tunnels, "; ", [](const core::TunnelConfig& tunnel) {
        return joined(tunnel.remote_networks, ", ", plain) + " through tunnel " + tunnel.name;
    });
    for (const auto& name : config.lan)
        out += "  " + described(network, name) + ", LAN: devices reach " + remote +
               ", as far as a pushed policy says, and nothing else. Until one is pushed: nothing.\n";
    std::string own;
    for (const auto& essential : config.essentials)
        own += ", " + essential.name + " with " + joined(essential.networks, " ", plain);
    for (const auto& name : config.uplink)
        out += "  " + described(network, name) + ", uplink: nothing leaves but IKE and ESP to " +
               joined(config.tunnels, ", ", [](const core::TunnelConfig& tunnel) { return tunnel.peer.str(); }) +
               ", ARP, neighbour discovery, DHCP" + own + ".\n";
    for (const auto& link : network.links)
        if ((link.flags & IFF_LOOPBACK) == 0 && std::ranges::find(config.lan, link.name) == config.lan.end() &&
            std::ranges::find(config.uplink, link.name) == config.uplink.end())
            out += "  " + described(network, link.name) + ", neither LAN nor uplink: nothing leaves.\n";
    out += "  Of this gateway itself everything else is blocked: updates, DNS, NTP and logins that are not listed.\n";
    if (login.from && !is_listed(config, *login.from))
        out += "  You come from " + login.from->str() +
               ", to which no listed ssh may answer: THIS SESSION ENDS when the gate closes.\n";
    return out;
}

} // namespace penstock::setup
