// agent/core: layers 2 and 3 as they should be, by table: rules, routes and XFRM policies of a configuration and a
// network.
#include "agent/core/base_policies.hpp"
#include "agent/core/routing.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <linux/if.h>
#include <set>
#include <sys/socket.h>
#include <tuple>

using namespace penstock;
using namespace penstock::core;

namespace {

constexpr datapath::Marks kMarks{.mask = 0x30000000, .device = 0x10000000, .esp = 0x20000000, .ike = 0x30000000};

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }

Config two_lans() {
    Config config;
    config.lan = {"lan0", "lan1"};
    config.uplink = {"wan0"};
    TunnelConfig tunnel;
    tunnel.name = "cloud";
    tunnel.local_networks = {prefix("10.20.0.0/16"), prefix("fd20::/32")};
    tunnel.remote_networks = {prefix("203.0.113.0/24"), prefix("2001:db8:203::/48")};
    config.tunnels = {tunnel};
    return config;
}

net::Link link(int index, const char* name) {
    net::Link out;
    out.index = index;
    out.name = name;
    out.flags = IFF_UP;
    return out;
}

net::Address address(int ifindex, const char* text, unsigned length) {
    net::Address out;
    out.ifindex = ifindex;
    out.address = *IpAddress::parse(text);
    out.prefix_length = length;
    return out;
}

net::Route main_route(const char* destination, int oif, std::uint32_t metric = 0) {
    net::Route out;
    out.destination = prefix(destination);
    out.table = net::kMainTable;
    out.oif = oif;
    out.metric = metric;
    return out;
}

// Two LANs that share a link-local address, as VLANs of one card do.
NetworkView network() {
    return {.links = {link(2, "lan0"), link(3, "lan1"), link(4, "wan0")},
            .addresses = {address(2, "10.20.0.1", 24), address(3, "10.20.1.1", 24), address(2, "fe80::1", 64),
                          address(3, "fe80::1", 64)},
            .main_routes = {main_route("10.20.0.0/24", 2), main_route("10.20.1.0/24", 3), main_route("0.0.0.0/0", 4),
                            main_route("10.20.7.0/24", 4), main_route("fd20::/64", 2, 256),
                            main_route("fe80::/64", 2, 256)}};
}

const net::Route* find(const std::vector<net::Route>& routes, const char* destination, int oif) {
    const auto found = std::ranges::find_if(
        routes, [&](const net::Route& route) { return route.destination == prefix(destination) && route.oif == oif; });
    return found == routes.end() ? nullptr : &*found;
}

} // namespace

BOOST_AUTO_TEST_SUITE(core_routing)

BOOST_AUTO_TEST_CASE(no_two_routes_are_one_to_the_kernel) {
    const auto routes = desired_routes(two_lans(), network(), {});
    std::set<std::tuple<IpPrefix, std::uint32_t>> seen;
    for (const auto& route : routes) {
        BOOST_TEST(route.table == two_lans().table);
        BOOST_CHECK_MESSAGE(seen.emplace(route.destination, route.metric).second, route.str());
    }
    BOOST_CHECK(find(routes, "ff00::/8", 2) != nullptr && find(routes, "ff00::/8", 3) != nullptr);
    BOOST_CHECK(find(routes, "fe80::1/128", 2) != nullptr && find(routes, "fe80::1/128", 3) != nullptr);
}

BOOST_AUTO_TEST_CASE(to_a_device_goes_what_a_lan_knows_and_nothing_else) {
    const auto routes = desired_routes(two_lans(), network(), {});
    BOOST_CHECK(find(routes, "10.20.0.0/24", 2) != nullptr);
    BOOST_CHECK(find(routes, "10.20.1.0/24", 3) != nullptr);
    BOOST_CHECK(find(routes, "fd20::/64", 2) != nullptr);
    for (const auto& route : routes)
        BOOST_CHECK_MESSAGE(route.oif != 4, route.str()); // a device's network by the uplink, and the default route
    BOOST_CHECK(find(routes, "fe80::/64", 2) == nullptr);
    // Without its LAN, a device is nowhere.
    auto down = network();
    std::erase_if(down.main_routes, [](const net::Route& route) { return route.oif == 2; });
    const auto without = desired_routes(two_lans(), down, {});
    BOOST_CHECK(find(without, "10.20.0.0/24", 2) == nullptr);
    BOOST_CHECK(find(without, "0.0.0.0/0", 0)->type == net::Route::Type::unreachable);
}

BOOST_AUTO_TEST_CASE(a_wider_route_of_a_lan_is_cut_to_the_devices) {
    auto wide = network();
    wide.main_routes = {main_route("10.0.0.0/8", 2), main_route("0.0.0.0/0", 3)};
    const auto routes = desired_routes(two_lans(), wide, {});
    BOOST_CHECK(find(routes, "10.20.0.0/16", 2) != nullptr);
    BOOST_CHECK(find(routes, "10.0.0.0/8", 2) == nullptr);
}

BOOST_AUTO_TEST_CASE(every_rule_stands_before_what_the_kernel_would_do) {
    const auto rules = desired_rules(two_lans(), kMarks);
    const auto config = two_lans();
    std::uint32_t last = 0;
    for (const auto& rule : rules)
        last = std::max(last, rule.priority);
    BOOST_TEST(last == config.rule_priority + 6U);
    for (const int family : {AF_INET, AF_INET6}) // without layer 1's mark there is no way from a LAN
        for (const auto& lan : config.lan) {
            const auto of_lan = [&](const net::Rule& rule) { return rule.family == family && rule.iif == lan; };
            const auto first = std::ranges::find_if(rules, of_lan);
            BOOST_REQUIRE(first != rules.end() && first->fwmark);
            BOOST_TEST(first->fwmark->first == kMarks.device);
            BOOST_TEST(std::ranges::count_if(rules, [&](const net::Rule& rule) {
                           return of_lan(rule) && !rule.fwmark && rule.action == net::Rule::Action::unreachable;
                       }) == 1);
        }
    for (const auto& devices : config.device_networks())
        BOOST_TEST(std::ranges::count_if(rules, [&](const net::Rule& rule) {
                       return rule.to == devices && !rule.iif && rule.table == config.table;
                   }) == 1);
}

BOOST_AUTO_TEST_CASE(out_of_a_tunnel_only_to_a_lan) {
    const auto policies = base_policies(two_lans(), 0, {2, 3});
    const auto count = [&](net::Direction direction, const char* from, const char* to, int ifindex,
                           net::SecurityPolicy::Action action) {
        return std::ranges::count_if(policies, [&](const net::SecurityPolicy& policy) {
            return policy.direction == direction && policy.selector.source == prefix(from) &&
                   policy.selector.destination == prefix(to) && policy.selector.ifindex == ifindex &&
                   policy.action == action;
        });
    };
    using Action = net::SecurityPolicy::Action;
    BOOST_TEST(count(net::Direction::out, "203.0.113.0/24", "10.20.0.0/16", 0, Action::block) == 1);
    BOOST_TEST(count(net::Direction::out, "203.0.113.0/24", "10.20.0.0/16", 2, Action::allow) == 1);
    BOOST_TEST(count(net::Direction::out, "203.0.113.0/24", "10.20.0.0/16", 3, Action::allow) == 1);
    BOOST_TEST(count(net::Direction::forward, "10.20.0.0/16", "10.20.0.0/16", 0, Action::allow) == 1);
    BOOST_TEST(count(net::Direction::forward, "fd20::/32", "fd20::/32", 0, Action::allow) == 1);
    BOOST_TEST(count(net::Direction::forward, "203.0.113.0/24", "10.20.0.0/16", 0, Action::allow) == 0); // kernel ESP
}

BOOST_AUTO_TEST_SUITE_END()
