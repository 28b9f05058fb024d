#include "agent/core/guard.hpp"

#include "agent/core/base_policies.hpp"
#include "agent/net/sysctl.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace penstock::core {
namespace {

using datapath::Hook;

// Bytes before the IP header; nullopt: we do not know how its frames begin, and nothing passes.
std::optional<unsigned> l2_length(const net::Link& link) {
    switch (link.arphrd) {
    case ARPHRD_ETHER:
        return 14;
    case ARPHRD_NONE:
    case ARPHRD_RAWIP:
    case ARPHRD_PPP:
        return 0;
    default:
        return std::nullopt;
    }
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
    return std::ranges::find(list, value) != list.end();
}

// Keeps the first of several problems, so that one layer's does not keep the others from being put up.
void keep_first(Status& first, Status next) {
    if (first && !next)
        first = std::move(next);
}

const char* role_name(penstock_link_role role) {
    switch (role) {
    case PENSTOCK_LINK_LAN:
        return "lan";
    case PENSTOCK_LINK_UPLINK:
        return "uplink";
    case PENSTOCK_LINK_TUNNEL:
        return "tunnel";
    case PENSTOCK_LINK_OTHER:
        break;
    }
    return "other";
}

Status put_sysctl(const std::string& key, const std::string& value) {
    const auto current = net::read_sysctl(key);
    if (!current && current.error().code() == ENOENT)
        return {}; // the interface, or the family, is not there
    if (current && *current == value)
        return {};
    return net::write_sysctl(key, value);
}

} // namespace

Result<std::unique_ptr<Guard>> Guard::make(const Config& config, EventLog& events) {
    const auto marks = datapath::Marks::from_mask(config.mark_mask);
    if (!marks)
        return tl::unexpected(marks.error());
    auto programs =
        datapath::Programs::load({.bpffs = config.bpffs, .marks = *marks, .device_capacity = config.device_capacity});
    if (!programs)
        return tl::unexpected(programs.error());
    auto hooks = datapath::Hooks::make(config.bpffs);
    if (!hooks)
        return tl::unexpected(hooks.error());
    auto gate = datapath::Gate::make(*programs);
    if (!gate)
        return tl::unexpected(gate.error());
    auto policies = datapath::PolicyStore::make(*programs);
    if (!policies)
        return tl::unexpected(policies.error());
    auto counters = datapath::Counters::make(*programs);
    if (!counters)
        return tl::unexpected(counters.error());
    return std::unique_ptr<Guard>(new Guard(config, events, std::move(*programs), std::move(*hooks), std::move(*gate),
                                            std::move(*policies), std::move(*counters), *marks));
}

bool Guard::is_lan(const std::string& name) const { return contains(config_.lan, name); }
bool Guard::is_uplink(const std::string& name) const { return contains(config_.uplink, name); }

Status Guard::set_esp(bool user_esp, const std::string& tun) {
    user_esp_ = user_esp;
    tun_.clear();
    if (!user_esp)
        return gate_.set_flags(user_esp, config_.host_egress_open);
    // The name comes from the process that speaks with the internet: it cannot make an uplink a tunnel.
    if (!tun.empty() && (is_lan(tun) || is_uplink(tun)))
        return fail("penstock-ike calls " + tun + " its TUN, which is an interface of the configuration");
    tun_ = tun;
    return gate_.set_flags(user_esp, config_.host_egress_open);
}

std::set<IpAddress> Guard::uplink_addresses() const {
    std::set<IpAddress> out;
    for (const auto& address : network_.addresses) {
        const auto* link = network_.find(address.ifindex);
        if (link != nullptr && is_uplink(link->name))
            out.insert(address.address);
    }
    return out;
}

bool Guard::is_tunnel(const net::Link& link) const {
    return !tun_.empty() && link.name == tun_ && link.kind == "tun" && link.arphrd == ARPHRD_NONE;
}

const net::Link* Guard::tunnel_link() const {
    const auto* link = network_.find(tun_);
    return link != nullptr && is_tunnel(*link) ? link : nullptr;
}

// LAN ports get the policy, everything else the default deny; only loopback and the TUN of our own are left alone.
Status Guard::guard_link(const net::Link& link, Interface& shown) {
    const auto l2 = l2_length(link);
    auto role = PENSTOCK_LINK_OTHER;
    if (is_lan(link.name) && l2 == 14U)
        role = PENSTOCK_LINK_LAN;
    else if (is_uplink(link.name) && l2)
        role = PENSTOCK_LINK_UPLINK;
    else if (is_tunnel(link))
        role = PENSTOCK_LINK_TUNNEL;
    shown = {.name = link.name, .role = role_name(role), .guarded = role != PENSTOCK_LINK_TUNNEL};
    // The program first: with the role alone unknown it passes nothing.
    const auto hooks = role == PENSTOCK_LINK_LAN      ? std::vector{Hook::lan_ingress, Hook::lan_egress}
                       : role == PENSTOCK_LINK_TUNNEL ? std::vector<Hook>{}
                                                      : std::vector{Hook::uplink_egress, Hook::uplink_ingress};
    // A role may change: the TUN was seen before its owner named it.
    if (replace_programs_ || gate_.role(link.index) != role)
        for (const auto hook : datapath::kHooks)
            if (std::ranges::find(hooks, hook) == hooks.end())
                if (auto ok = hooks_.detach(hook, link.index); !ok)
                    return ok;
    for (const auto hook : hooks) {
        if (!replace_programs_ && hooks_.attached(programs_, hook, link.index))
            continue;
        if (auto ok = hooks_.attach(programs_, hook, link.index); !ok)
            return ok;
        if (!replace_programs_)
            events_.add(log::Level::info, "hook_attached", {{"interface", link.name}, {"hook", hook_name(hook)}});
    }
    if (auto ok = gate_.set_link(link.index, role, l2.value_or(0)); !ok)
        return ok;
    if (is_lan(link.name) && role != PENSTOCK_LINK_LAN)
        return fail("is a LAN interface of the configuration, but not Ethernet; nothing passes it");
    if (is_uplink(link.name) && role != PENSTOCK_LINK_UPLINK)
        return fail("is an uplink of the configuration, but its frames (ARPHRD " + std::to_string(link.arphrd) +
                    ") are not understood; nothing passes it");
    return {};
}

Status Guard::attach_all() {
    Status first_problem;
    std::vector<Interface> shown;
    std::set<int> guarded;
    std::vector<int> present;
    for (const auto& link : network_.links) {
        present.push_back(link.index);
        if (link.flags & IFF_LOOPBACK)
            continue;
        Interface one;
        auto ok = guard_link(link, one);
        // An interface that went away in the middle needs no guard.
        if (!ok && ok.error().code() != ENODEV) {
            one.guarded = false;
            keep_first(first_problem, fail(link.name, std::move(ok.error())));
        }
        guarded.insert(link.index);
        shown.push_back(std::move(one));
    }
    for (const auto* list : {&config_.lan, &config_.uplink})
        for (const auto& name : *list)
            if (network_.find(name) == nullptr)
                shown.push_back({.name = name, .role = list == &config_.lan ? "lan" : "uplink", .guarded = false});
    gate_.keep_links(guarded);
    hooks_.forget_absent(present);
    replace_programs_ = replace_programs_ && !first_problem;
    interfaces_ = std::move(shown);
    return first_problem;
}

Status Guard::tell_gate() {
    std::set<std::pair<int, IpAddress>> own;
    for (const auto& address : network_.addresses) {
        const auto* link = network_.find(address.ifindex);
        if (link != nullptr && (is_lan(link->name) || is_uplink(link->name)))
            own.emplace(address.ifindex, address.address);
    }
    if (auto ok = gate_.set_host_addresses(own); !ok)
        return ok;
    if (auto ok = gate_.set_guarded_networks(guarded_networks()); !ok)
        return ok;
    std::vector<datapath::RemoteNetwork> networks;
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++) {
        for (const auto& prefix : config_.tunnels[i].remote_networks)
            networks.push_back({.prefix = prefix, .tunnel = i});
        if (auto ok = gate_.add_sa(config_.tunnels[i].peer, 0, i); !ok)
            return ok;
    }
    return gate_.set_remote_networks(networks);
}

std::set<IpPrefix> Guard::lan_networks() const {
    std::set<IpPrefix> out;
    for (const auto& address : network_.addresses) {
        const auto* link = network_.find(address.ifindex);
        if (link != nullptr && is_lan(link->name) && address.scope == RT_SCOPE_UNIVERSE)
            out.insert(IpPrefix::around(address.address, address.prefix_length));
    }
    return out;
}

// What no frame on an uplink may name in clear.
std::set<IpPrefix> Guard::guarded_networks() const {
    auto out = lan_networks();
    for (const auto& tunnel : config_.tunnels) {
        out.insert(tunnel.local_networks.begin(), tunnel.local_networks.end());
        out.insert(tunnel.remote_networks.begin(), tunnel.remote_networks.end());
    }
    return out;
}

std::vector<TunnelPath> Guard::tunnel_paths() const {
    std::vector<TunnelPath> out;
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++) {
        if (!gate_.tunnel_up(i))
            continue;
        int oif = 0;
        std::optional<IpAddress> gateway;
        if (user_esp_) {
            const auto* tun = tunnel_link();
            oif = tun != nullptr && tun->up() ? tun->index : 0;
        } else if (const auto way = net::lookup_route(config_.tunnels[i].peer, marks_.ike)) {
            const auto* link = network_.find(way->oif);
            oif = link != nullptr && is_uplink(link->name) ? way->oif : 0;
            gateway = way->gateway;
        }
        if (oif == 0)
            continue;
        for (const auto& network : config_.tunnels[i].remote_networks) {
            const bool same_family = gateway && gateway->family == network.address.family;
            out.push_back({.remote_network = network, .oif = oif, .gateway = same_family ? gateway : std::nullopt});
        }
    }
    return out;
}

Status Guard::apply_xfrm() {
    const auto* tun = tunnel_link();
    return apply_base_policies(base_policies(config_, tun != nullptr ? tun->index : 0));
}

// IPv4 forwards what comes in on an interface whose own switch is on; IPv6 asks the switch of all.
Status Guard::set_forwarding(bool on) {
    const std::string value = on ? "1" : "0";
    std::vector<std::string> inputs = config_.lan;
    if (on && tunnel_link() != nullptr)
        inputs.push_back(tun_);
    if (on && !user_esp_)
        inputs.insert(inputs.end(), config_.uplink.begin(), config_.uplink.end());
    Status first;
    for (const auto& name : inputs)
        keep_first(first, put_sysctl(net::interface_sysctl(AF_INET, name, "forwarding"), value));
    // A router stops listening to advertisements (accept_ra 1) unless told otherwise (2).
    for (const auto& name : config_.uplink) {
        const auto key = net::interface_sysctl(AF_INET6, name, "accept_ra");
        if (const auto current = net::read_sysctl(key); on && current && *current == "1")
            keep_first(first, net::write_sysctl(key, "2"));
    }
    keep_first(first, put_sysctl(net::interface_sysctl(AF_INET6, "all", "forwarding"), value));
    return first;
}

// An uplink must not make a service's address the gateway's own, nor a device's its neighbour's.
Status Guard::check_addresses() const {
    for (const auto& address : network_.addresses)
        for (const auto& lan : lan_networks())
            if (const auto* link = network_.find(address.ifindex);
                link != nullptr && is_uplink(link->name) && lan.contains(address.address))
                return fail("address " + address.address.str() + " of uplink " + link->name + " is inside " +
                            lan.str() + ", the network of a LAN interface; give them different networks");
    for (const auto& address : network_.addresses)
        for (const auto& tunnel : config_.tunnels) {
            const auto* link = network_.find(address.ifindex);
            for (const auto& local : tunnel.local_networks)
                if (link != nullptr && is_uplink(link->name) && local.contains(address.address))
                    return fail("address " + address.address.str() + " of uplink " + link->name + " is inside " +
                                local.str() + ", where the devices are; take it away or change the tunnel");
            for (const auto& remote : tunnel.remote_networks)
                if (remote.contains(address.address))
                    return fail("address " + address.address.str() + " of this gateway is inside " + remote.str() +
                                " of tunnel " + tunnel.name + "; take it away or change the tunnel");
        }
    return {};
}

Status Guard::put_up_layers() {
    auto network = NetworkView::read();
    if (!network)
        return tl::unexpected(network.error());
    network_ = std::move(*network);
    auto first = gate_.set_flags(user_esp_, config_.host_egress_open);
    keep_first(first, attach_all());
    keep_first(first, tell_gate());
    keep_first(first, apply_routes(config_.table, desired_routes(config_, network_, tunnel_paths())));
    keep_first(first, apply_rules(desired_rules(config_, marks_)));
    keep_first(first, apply_xfrm());
    keep_first(first, check_addresses());
    return first;
}

Status Guard::reconcile() {
    auto status = put_up_layers();
    if (status)
        status = set_forwarding(true);
    std::string problem = status ? "" : status.error().message();
    if (!status)
        if (auto off = set_forwarding(false); !off)
            problem += "; and forwarding cannot be switched off: " + off.error().message();
    if (problem != problem_)
        events_.add(status ? log::Level::info : log::Level::error, status ? "gate_closed" : "gate_problem",
                    status ? nlohmann::json{{"hooks", hooks_.mechanism()}} : nlohmann::json{{"why", problem}});
    problem_ = problem;
    return status;
}

Status Guard::release() {
    if (auto ok = set_forwarding(false); !ok)
        return ok;
    for (const auto& link : network_.links)
        for (const auto hook : datapath::kHooks)
            if (auto ok = hooks_.detach(hook, link.index); !ok)
                return ok;
    if (auto ok = remove_all(config_.table); !ok)
        return ok;
    return remove_base_policies();
}

} // namespace penstock::core
