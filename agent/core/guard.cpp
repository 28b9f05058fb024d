#include "agent/core/guard.hpp"

#include "agent/base/file.hpp"
#include "agent/core/base_policies.hpp"
#include "agent/core/sysctls.hpp"
#include "agent/core/tunnel_mtu.hpp"
#include "agent/net/tun.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/if.h>
#include <linux/rtnetlink.h>

namespace penstock::core {

Result<std::unique_ptr<Guard>> Guard::make(const Config& config, EventLog& events, Repairs& repairs,
                                           store::SealedFolder& folder) {
    const auto marks = datapath::Marks::from_mask(config.mark_mask);
    if (!marks)
        return tl::unexpected(marks.error());
    auto lock = lock_folder(config.bpffs);
    if (!lock)
        return lock.error().code() == EWOULDBLOCK
                   ? fail("another penstockd guards this machine: it holds " + config.bpffs.string())
                   : tl::unexpected(lock.error());
    auto programs = datapath::Programs::load({.bpffs = config.bpffs,
                                              .marks = *marks,
                                              .device_capacity = config.device_capacity,
                                              .flows_per_device = config.flows_per_device});
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
    auto witness = datapath::Witness::make(*programs, config.bpffs);
    if (!witness)
        return tl::unexpected(witness.error());
    auto guard = std::unique_ptr<Guard>(
        new Guard(config, events, repairs, folder, std::move(*lock), std::move(*programs), std::move(*hooks),
                  std::move(*gate), std::move(*policies), std::move(*counters), std::move(*witness), *marks));
    if (auto ok = guard->remember_sighting(); !ok)
        return tl::unexpected(ok.error());
    return guard;
}

// The process that speaks with the internet says which TUN is its own: only one that it holds can become a tunnel.
Status Guard::set_esp(bool user_esp, const Fd& tun) {
    user_esp_ = user_esp;
    tun_ = 0;
    if (!user_esp || !tun)
        return gate_.set_flags(flags());
    const auto link = net::find_tun(tun.get());
    if (!link)
        return fail("what penstock-ike gives for its TUN is none", Error(link.error()));
    if (is_lan(link->name) || is_uplink(link->name))
        return fail("penstock-ike calls " + link->name + " its TUN, which is an interface of the configuration");
    tun_ = link->index;
    events_.add(log::Level::info, "tun", {{"interface", link->name}});
    return gate_.set_flags(flags());
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

std::set<std::string> Guard::enslaved_uplinks() const {
    std::set<std::string> out;
    for (const auto& link : network_.links)
        if (is_uplink(link.name) && link.master != 0)
            out.insert(link.name);
    return out;
}

Status Guard::tell_gate() {
    const auto networks_guarded = guarded_networks();
    std::set<std::pair<int, IpAddress>> own;
    for (const auto& address : network_.addresses) {
        const auto* link = network_.find(address.ifindex);
        // One that somebody on the uplink gave us out of a device's or a service's network is none we speak from.
        const bool guarded = std::ranges::any_of(
            networks_guarded, [&](const IpPrefix& network) { return network.contains(address.address); });
        if (link != nullptr && (is_lan(link->name) || (is_uplink(link->name) && !guarded)))
            own.emplace(address.ifindex, address.address);
    }
    if (auto ok = gate_.set_host_addresses(own); !ok)
        return ok;
    if (auto ok = gate_.set_guarded_networks(networks_guarded); !ok)
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

// The narrowest uplink decides: a tunnel may move to it, and a connection keeps the segments it began with.
Status Guard::tell_mtu() {
    unsigned carrier = 0;
    for (const auto& name : config_.uplink)
        if (const auto* link = network_.find(name); link != nullptr && link->up())
            carrier = carrier == 0 ? link->mtu : std::min(carrier, link->mtu);
    const auto* tun = tunnel_link();
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++) {
        auto mtu = inner_mtu(carrier, config_.tunnels[i].peer.family);
        if (tun != nullptr)
            mtu = std::min(mtu, tun->mtu);
        if (auto ok = gate_.set_tunnel_mtu(i, mtu); !ok)
            return ok;
    }
    return {};
}

datapath::Gate::Flags Guard::flags() const {
    return {.esp_in_user_space = user_esp_,
            .host_egress_open = config_.host_egress_open,
            .dhcp_owned = owns_dhcp(config_.essentials)};
}

// Who may speak is looked up again each time: a service that is started anew has a new cgroup.
Status Guard::tell_essentials() {
    auto resolved = resolve(config_.essentials);
    for (const auto& state : resolved.states)
        if (std::ranges::find(essentials_, state) == essentials_.end())
            events_.add(state.problem.empty() ? log::Level::info : log::Level::warning,
                        state.problem.empty() ? "essential" : "essential_problem",
                        state.problem.empty() ? nlohmann::json{{"name", state.name}, {"owners", state.owners}}
                                              : nlohmann::json{{"name", state.name}, {"why", state.problem}});
    essentials_ = std::move(resolved.states);
    return gate_.set_essentials(resolved.rules);
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
    out.merge(config_.device_networks());
    for (const auto& tunnel : config_.tunnels)
        out.insert(tunnel.remote_networks.begin(), tunnel.remote_networks.end());
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
    std::vector<int> lan;
    for (const auto& link : network_.links)
        if (is_lan(link.name))
            lan.push_back(link.index);
    return apply_base_policies(base_policies(config_, tun != nullptr ? tun->index : 0, lan), config_, repairs_);
}

Status Guard::forward(bool on) {
    auto inputs = config_.lan;
    if (const auto* tun = tunnel_link())
        inputs.push_back(tun->name);
    if (!on || !user_esp_) // what comes out of an SA of the kernel came in there
        inputs.insert(inputs.end(), config_.uplink.begin(), config_.uplink.end());
    return set_forwarding(inputs, on, repairs_);
}

// An uplink cannot make a service's address the gateway's own, nor a device's its neighbour's: routing asks our table
// first, and the gateway does not speak from such an address. It is said, because whoever gave it wants something.
void Guard::tell_addresses() {
    std::string problem;
    const auto guarded = guarded_networks();
    for (const auto& address : network_.addresses)
        for (const auto& network : guarded)
            if (const auto* link = network_.find(address.ifindex); link != nullptr && !is_lan(link->name) &&
                                                                   !(link->flags & IFF_LOOPBACK) &&
                                                                   network.contains(address.address) && problem.empty())
                problem =
                    "address " + address.address.str() + " of " + link->name + " is inside " + network.str() +
                    ", where the devices or their services are; it is not used. Take it away, or find out who gave it";
    if (problem != address_problem_ && !problem.empty())
        events_.add(log::Level::warning, "address_problem", {{"why", problem}});
    address_problem_ = problem;
}

Status Guard::put_up_layers() {
    auto network = NetworkView::read();
    if (!network)
        return tl::unexpected(network.error());
    network_ = std::move(*network);
    carriers_ = find_carriers(config_, network_, net::list_pppoe_sessions());
    auto first = keep_pins();
    keep_first(first, gate_.set_carried(carriers_.carried));
    keep_first(first, gate_.set_flags(flags()));
    keep_first(first, attach_all());
    for (auto& shared : shared_wires(config_, network_))
        keep_first(first, fail(std::move(shared)));
    keep_first(first, tell_gate());
    keep_first(first, tell_mtu());
    keep_first(first, tell_essentials());
    keep_first(first, apply_routes(config_.table, desired_routes(config_, network_, tunnel_paths()), repairs_));
    keep_first(first, apply_rules(desired_rules(config_, marks_), repairs_));
    keep_first(first, apply_xfrm());
    const auto* tun = tunnel_link();
    keep_first(first, apply_sysctls(desired_sysctls(config_, network_, tun != nullptr ? tun->name : ""), repairs_));
    keep_first(first, no_multicast_routing(network_));
    tell_addresses();
    return first;
}

Status Guard::arm() {
    // A machine that boots: nothing is forwarded until all layers stand and penstockd is there. Where tunnels of a
    // predecessor carry traffic, it goes on.
    if (policies_.generation() == 0)
        if (auto ok = forward(false); !ok)
            return ok;
    return put_up(false);
}
Status Guard::reconcile() { return put_up(true); }

Status Guard::put_up(bool then_forward) {
    repairs_.begin();
    auto layers = put_up_layers();
    auto status = repairs_.peace();
    keep_first(status, std::move(layers));
    keep_first(status, put_up_witness(status.has_value()));
    if (status && then_forward)
        status = forward(true);
    std::string problem = status ? "" : status.error().message();
    if (!status)
        if (auto off = forward(false); !off)
            problem += "; and forwarding cannot be switched off: " + off.error().message();
    if (latch_told_) // after forwarding is off: a disk may take its time
        keep_sighting();
    if (problem != problem_)
        events_.add(status ? log::Level::info : log::Level::error, status ? "gate_closed" : "gate_problem",
                    status ? nlohmann::json{{"hooks", hooks_.mechanism()}} : nlohmann::json{{"why", problem}});
    problem_ = problem;
    return status;
}

Status Guard::release() {
    if (auto view = NetworkView::read(); view)
        network_ = std::move(*view);
    else
        return tl::unexpected(view.error());
    if (auto ok = forward(false); !ok)
        return ok;
    if (auto ok = witness_.look_away(); !ok)
        return ok;
    if (auto ok = witness_.detach(); !ok)
        return ok;
    for (const auto& link : network_.links) {
        if (auto ok = early_drop_.detach(link.index); !ok)
            return ok;
        for (const auto hook : datapath::kHooks)
            if (auto ok = hooks_.detach(hook, link.index); !ok)
                return ok;
    }
    if (auto ok = remove_all(config_.table); !ok)
        return ok;
    return remove_base_policies();
}

} // namespace penstock::core
