#include "agent/core/routing.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/if.h>
#include <netinet/in.h>

namespace penstock::core {
namespace {

// Offsets from Config::rule_priority. Ours stand before `local`, so that an uplink address cannot make a service's or a
// device's local.
constexpr std::uint32_t kEncrypted = 0;   // what the agent itself sends: the main tables
constexpr std::uint32_t kFromDevices = 1; // what layer 1 has seen, and marked
constexpr std::uint32_t kUnseen = 2;      // of a LAN: layer 1 is not there
constexpr std::uint32_t kToTunnels = 3;
constexpr std::uint32_t kToTunnelsFromElsewhere = 4; // an uplink must not send into a tunnel as if it were a device
constexpr std::uint32_t kToDevices = 5;              // a LAN that is down must not make the default route theirs
constexpr std::uint32_t kLocal = 6;                  // a copy of the kernel's rule 0, which is then taken away

net::Rule lookup(int family, std::uint32_t priority, std::uint32_t table) {
    net::Rule rule;
    rule.family = family;
    rule.priority = priority;
    rule.table = table;
    return rule;
}

net::Rule kernels_local_rule(int family) {
    auto rule = lookup(family, 0, net::kLocalTable);
    rule.protocol = 2; // RTPROT_KERNEL
    return rule;
}

bool contains(const auto& list, const auto& value) { return std::find(list.begin(), list.end(), value) != list.end(); }

// What the main table says about the devices and a LAN interface; what it says about another way to them is not heard.
std::vector<net::Route> lan_paths(const Config& config, const NetworkView& network) {
    std::vector<net::Route> out;
    for (const auto& route : network.main_routes) {
        const auto* link = network.find(route.oif);
        if (route.type != net::Route::Type::unicast || link == nullptr || !contains(config.lan, link->name))
            continue;
        for (const auto& devices : config.device_networks()) {
            if (!devices.overlaps(route.destination))
                continue;
            auto path = route;
            path.table = config.table;
            path.protocol = net::kRouteProtocol;
            if (path.destination.length < devices.length)
                path.destination = devices;
            // Cut to the same network, two routes can be one to the kernel.
            if (std::ranges::none_of(out, [&](const net::Route& other) {
                    return other.destination == path.destination && other.metric == path.metric;
                }))
                out.push_back(path);
        }
    }
    return out;
}

Status remove_other_routes(std::uint32_t table, const std::vector<net::Route>& routes) {
    const auto actual = net::list_routes(table);
    if (!actual)
        return tl::unexpected(actual.error());
    for (const auto& route : *actual)
        if (!contains(routes, route))
            if (auto ok = net::delete_route(route); !ok && ok.error().code() != ESRCH)
                return ok;
    return {};
}

} // namespace

Result<NetworkView> NetworkView::read() {
    auto links = net::list_links();
    if (!links)
        return tl::unexpected(links.error());
    auto addresses = net::list_addresses();
    if (!addresses)
        return tl::unexpected(addresses.error());
    auto routes = net::list_routes(net::kMainTable);
    if (!routes)
        return tl::unexpected(routes.error());
    return NetworkView{std::move(*links), std::move(*addresses), std::move(*routes)};
}

const net::Link* NetworkView::find(const std::string& name) const {
    const auto found = std::ranges::find(links, name, &net::Link::name);
    return found == links.end() ? nullptr : &*found;
}

const net::Link* NetworkView::find(int ifindex) const {
    const auto found = std::ranges::find(links, ifindex, &net::Link::index);
    return found == links.end() ? nullptr : &*found;
}

std::vector<net::Rule> desired_rules(const Config& config, const datapath::Marks& marks) {
    std::vector<net::Rule> rules;
    for (const int family : {AF_INET, AF_INET6}) {
        // The IKE socket and what an SA encrypted go the ordinary way; `local` answers for the gateway's own addresses
        // first.
        for (const auto mark : {marks.esp, marks.ike}) {
            for (const auto table : {net::kLocalTable, net::kMainTable}) {
                auto rule = lookup(family, config.rule_priority + kEncrypted, table);
                rule.fwmark = {mark, marks.mask};
                rules.push_back(rule);
            }
        }
        for (const auto& name : config.lan) {
            auto rule = lookup(family, config.rule_priority + kFromDevices, config.table);
            rule.iif = name;
            rule.fwmark = {marks.device, marks.mask};
            rules.push_back(rule);
            auto unseen = lookup(family, config.rule_priority + kUnseen, 0);
            unseen.iif = name;
            unseen.action = net::Rule::Action::unreachable;
            rules.push_back(unseen);
        }
        for (const auto& tunnel : config.tunnels)
            for (const auto& network : tunnel.remote_networks)
                if (network.address.family == family) {
                    auto own = lookup(family, config.rule_priority + kToTunnels, config.table);
                    own.to = network;
                    own.iif = "lo"; // sent by the gateway itself; also how the kernel checks a source's way back
                    rules.push_back(own);
                    auto others = lookup(family, config.rule_priority + kToTunnelsFromElsewhere, 0);
                    others.to = network;
                    others.action = net::Rule::Action::unreachable;
                    rules.push_back(others);
                }
        for (const auto& network : config.device_networks())
            if (network.address.family == family) {
                auto rule = lookup(family, config.rule_priority + kToDevices, config.table);
                rule.to = network;
                rules.push_back(rule);
            }
        rules.push_back(lookup(family, config.rule_priority + kLocal, net::kLocalTable));
    }
    return rules;
}

std::vector<net::Route> desired_routes(const Config& config, const NetworkView& network,
                                       const std::vector<TunnelPath>& paths) {
    std::vector<net::Route> routes;
    const auto add = [&](const IpPrefix& destination, net::Route::Type type, int oif,
                         std::uint32_t metric) -> net::Route& {
        net::Route route;
        route.destination = destination;
        route.table = config.table;
        route.type = type;
        route.oif = oif;
        route.metric = metric;
        return routes.emplace_back(route);
    };
    // The end of the table, behind everything.
    for (const int family : {AF_INET, AF_INET6})
        add({IpAddress{family, {}}, 0}, net::Route::Type::unreachable, 0, 0x7fffffff);
    // The gateway's own addresses on the LAN: `local` comes after this table.
    std::uint32_t metric6 = 256; // to the kernel, two routes of IPv6 to one place differ by nothing else
    for (const auto& name : config.lan) {
        const auto* link = network.find(name);
        metric6++;
        if (link == nullptr || !link->up())
            continue;
        add({IpAddress{AF_INET6, {0xff}}, 8}, net::Route::Type::multicast, link->index, metric6);
        for (const auto& address : network.addresses) {
            if (address.ifindex != link->index || !address.usable())
                continue;
            const auto& own = address.address;
            add({own, own.bits()}, net::Route::Type::local, link->index, own.family == AF_INET ? 0 : metric6);
            if (address.broadcast)
                add({*address.broadcast, 32}, net::Route::Type::broadcast, link->index, 0);
        }
    }
    for (const auto& path : lan_paths(config, network))
        add(path.destination, net::Route::Type::unicast, path.oif, path.metric) = path;
    for (const auto& path : paths)
        add(path.remote_network, net::Route::Type::unicast, path.oif,
            path.remote_network.address.family == AF_INET ? 0 : 1024)
            .gateway = path.gateway;
    return routes;
}

Status apply_rules(const std::vector<net::Rule>& rules, Repairs& repairs) {
    auto actual = net::list_rules();
    if (!actual)
        return tl::unexpected(actual.error());
    Status first;
    Repairs::Look look(repairs, Layer::rules);
    for (const auto& rule : rules) {
        const auto thing = "rule " + rule.str();
        if (!contains(*actual, rule)) {
            auto ok = look.put(thing);
            if (ok)
                ok = net::add_rule(rule);
            if (!ok && ok.error().code() != EEXIST) {
                keep_first(first, std::move(ok));
                continue;
            }
        }
        look.stands(thing);
    }
    std::uint32_t last_of_ours = 0;
    for (const auto& rule : rules)
        last_of_ours = std::max(last_of_ours, rule.priority);
    for (const auto& rule : *actual) {
        const bool ours = rule.protocol == net::kRouteProtocol;
        auto local = kernels_local_rule(rule.family); // also where an operator put it back after a flush
        local.protocol = rule.protocol;
        const bool local_before_us = rule == local;
        if ((ours && !contains(rules, rule)) || local_before_us) {
            if (auto ok = net::delete_rule(rule); !ok && ok.error().code() != ENOENT)
                keep_first(first, std::move(ok));
        } else if (!ours && rule.priority <= last_of_ours) {
            keep_first(first, fail("rule " + rule.str() + " stands before penstock's; delete it (ip rule del pref " +
                                   std::to_string(rule.priority) + ") or give it a priority above " +
                                   std::to_string(last_of_ours)));
        }
    }
    return first;
}

Status apply_routes(std::uint32_t table, const std::vector<net::Route>& routes, Repairs& repairs) {
    auto actual = net::list_routes(table);
    if (!actual)
        return tl::unexpected(actual.error());
    Repairs::Look look(repairs, Layer::routes);
    for (const auto& route : routes) {
        const auto thing = "route " + route.str();
        if (!contains(*actual, route)) {
            if (auto ok = look.put(thing); !ok)
                return ok;
            if (auto ok = net::replace_route(route); !ok)
                return ok;
        }
        look.stands(thing);
    }
    return remove_other_routes(table, routes);
}

Status remove_all(std::uint32_t table) {
    for (const int family : {AF_INET, AF_INET6})
        if (auto ok = net::add_rule(kernels_local_rule(family)); !ok && ok.error().code() != EEXIST)
            return ok;
    auto rules = net::list_rules();
    if (!rules)
        return tl::unexpected(rules.error());
    for (const auto& rule : *rules)
        if (rule.protocol == net::kRouteProtocol)
            if (auto ok = net::delete_rule(rule); !ok && ok.error().code() != ENOENT)
                return ok;
    return remove_other_routes(table, {});
}

} // namespace penstock::core
