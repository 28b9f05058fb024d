#include "agent/core/carriers.hpp"

#include <algorithm>
#include <linux/if_ether.h>

namespace penstock::core {
namespace {

// What stands directly below an interface, and by which header that is known there.
std::vector<datapath::Carried> below(const Config& config, const NetworkView& network,
                                     const std::vector<net::PppoeSession>& sessions, const net::Link& upper) {
    std::vector<datapath::Carried> out;
    if (upper.kind == "vlan" && upper.lower != 0)
        out.push_back(
            {.carrier = upper.lower, .ethertype = upper.vlan_protocol, .id = upper.vlan, .upper = upper.index});
    if (upper.kind == "bridge" || upper.kind == "bond" || upper.kind == "team")
        for (const auto& port : network.links)
            if (port.master == upper.index)
                out.push_back({.carrier = port.index, .upper = upper.index});
    for (const auto& pppoe : config.pppoe)
        if (const auto* carrier = network.find(pppoe.carrier); carrier != nullptr && pppoe.uplink == upper.name)
            for (const auto& session : sessions)
                if (session.interface == pppoe.carrier)
                    out.push_back({.carrier = carrier->index,
                                   .ethertype = ETH_P_PPP_SES,
                                   .id = session.id,
                                   .upper = upper.index});
    return out;
}

class Finder {
public:
    Finder(const Config& config, const NetworkView& network, const std::vector<net::PppoeSession>& sessions)
        : config_(config), network_(network), sessions_(sessions) {}

    Carriers find() {
        for (const auto& pppoe : config_.pppoe) // before there is a session, and so an uplink
            if (const auto* carrier = network_.find(pppoe.carrier); carrier != nullptr && !is_lan(*carrier))
                add(*carrier, PENSTOCK_LINK_PPPOE, pppoe.uplink);
        for (const auto& name : config_.uplink)
            if (const auto* link = network_.find(name))
                descend(*link, name);
        return std::move(out_);
    }

private:
    [[nodiscard]] bool is_lan(const net::Link& link) const {
        return std::ranges::find(config_.lan, link.name) != config_.lan.end();
    }

    void add(const net::Link& carrier, unsigned flags, const std::string& uplink) {
        auto& entry = out_.links[carrier.index];
        entry.flags |= flags | PENSTOCK_LINK_CARRIES;
        if (entry.uplinks.insert(uplink).second)
            descend(carrier, uplink);
    }

    void descend(const net::Link& upper, const std::string& uplink) {
        for (const auto& one : below(config_, network_, sessions_, upper)) {
            const auto* carrier = network_.find(one.carrier);
            if (carrier == nullptr || is_lan(*carrier))
                continue;
            if (std::ranges::find(out_.carried, one) == out_.carried.end())
                out_.carried.push_back(one);
            const bool speaks_lacp = upper.kind == "bond" || upper.kind == "team";
            add(*carrier, speaks_lacp ? unsigned{PENSTOCK_LINK_LACP} : 0, uplink);
        }
    }

    const Config& config_;
    const NetworkView& network_;
    const std::vector<net::PppoeSession>& sessions_;
    Carriers out_;
};

// Frames that a bridge carries from one port to another are never routed, so never encrypted.
void find_shared_bridges(const Config& config, const NetworkView& network, std::vector<std::string>& out) {
    const auto bridge_of = [&](const std::string& name) -> const net::Link* {
        const auto* link = network.find(name);
        if (link == nullptr)
            return nullptr;
        return link->kind == "bridge" ? link : link->master != 0 ? network.find(link->master) : nullptr;
    };
    for (const auto& lan : config.lan)
        for (const auto& uplink : config.uplink) {
            const auto* bridge = bridge_of(lan);
            if (bridge != nullptr && bridge == bridge_of(uplink))
                out.push_back("LAN " + lan + " and uplink " + uplink + " are on the same bridge " + bridge->name +
                              ", which would carry frames past the tunnel; take one of them out: ip link set " +
                              (uplink == bridge->name ? lan : uplink) + " nomaster");
        }
    for (const auto& lan : config.lan) {
        const auto* link = network.find(lan);
        const auto* bridge = link != nullptr && link->master != 0 ? network.find(link->master) : nullptr;
        if (bridge != nullptr && bridge->kind == "bridge")
            out.push_back("LAN " + lan + " is a port of bridge " + bridge->name + "; name " + bridge->name +
                          " in [lan] interfaces instead");
    }
}

// Of two on one wire nobody can tell what a device's frame is and what the uplink's.
void find_shared_carriers(const Config& config, const NetworkView& network, std::vector<std::string>& out) {
    for (const auto& lan : config.lan)
        for (const auto& uplink : config.uplink) {
            if (const auto* link = network.find(lan); link != nullptr && link->master != 0)
                continue; // told as a bridge's port
            const auto below = footing(config, network, uplink);
            for (const int one : footing(config, network, lan))
                if (const auto* link = network.find(one); link != nullptr && below.contains(one)) {
                    out.push_back("LAN " + lan + " and uplink " + uplink + " are both carried by " + link->name +
                                  "; give one of them an interface of its own");
                    break;
                }
        }
}

} // namespace

Carriers find_carriers(const Config& config, const NetworkView& network,
                       const std::vector<net::PppoeSession>& sessions) {
    return Finder(config, network, sessions).find();
}

std::set<int> footing(const Config& config, const NetworkView& network, const std::string& name) {
    std::set<int> out;
    std::vector<const net::Link*> todo{network.find(name)};
    for (const auto& pppoe : config.pppoe)
        if (pppoe.uplink == name)
            todo.push_back(network.find(pppoe.carrier));
    while (!todo.empty()) {
        const auto* link = todo.back();
        todo.pop_back();
        if (link == nullptr || !out.insert(link->index).second)
            continue;
        if (link->kind != "veth") // whose other end is no carrier
            todo.push_back(network.find(link->lower));
        for (const auto& port : network.links)
            if (port.master == link->index && link->kind != "vrf")
                todo.push_back(&port);
    }
    return out;
}

std::vector<std::string> shared_wires(const Config& config, const NetworkView& network) {
    std::vector<std::string> out;
    find_shared_bridges(config, network, out);
    find_shared_carriers(config, network, out);
    return out;
}

} // namespace penstock::core
