// agent/net: routes, rules and the watch over them, in a fresh network namespace.
#include "agent/net/links.hpp"
#include "agent/net/monitor.hpp"
#include "agent/net/routes.hpp"
#include "agent/net/rules.hpp"
#include "tests/unit/net_namespace.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

using namespace penstock;
using namespace penstock::net;
namespace utf = boost::unit_test;

namespace {

constexpr std::uint32_t kTable = 20480;

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }
IpAddress address(const char* text) { return *IpAddress::parse(text); }

// Uplink wan0 with an address of each family.
struct Gateway : test::NetworkNamespace {
    Gateway() {
        ip("link set lo up");
        ip("link add wan0 type veth peer name isp0");
        ip("link set isp0 up");
        ip("link set wan0 up");
        ip("addr add 198.51.100.2/24 dev wan0");
        ip("addr add 2001:db8:100::2/64 dev wan0 nodad");
        wan = find_link("wan0")->index;
    }
    int wan = 0;
};

Route via(const char* destination, const char* gateway, int oif) {
    Route route;
    route.destination = prefix(destination);
    route.table = kTable;
    route.gateway = address(gateway);
    route.oif = oif;
    return route;
}

Route unreachable(const char* destination) {
    Route route;
    route.destination = prefix(destination);
    route.table = kTable;
    route.type = Route::Type::unreachable;
    return route;
}

bool contains(const std::vector<Route>& all, const Route& route) {
    return std::find(all.begin(), all.end(), route) != all.end();
}
bool contains(const std::vector<Rule>& all, const Rule& rule) {
    return std::find(all.begin(), all.end(), rule) != all.end();
}

Changes changes_within_a_second(Monitor& monitor) {
    pollfd wait{monitor.fd(), POLLIN, 0};
    BOOST_REQUIRE(poll(&wait, 1, 1000) == 1);
    auto changes = monitor.drain();
    BOOST_REQUIRE(changes);
    return *changes;
}

} // namespace

BOOST_AUTO_TEST_SUITE(net_routes, *utf::precondition(test::can_make_namespaces))

BOOST_FIXTURE_TEST_CASE(an_unused_table_is_empty, Gateway) {
    const auto routes = list_routes(kTable);
    BOOST_REQUIRE(routes);
    BOOST_TEST(routes->empty());
}

BOOST_FIXTURE_TEST_CASE(lists_exactly_what_was_put_in, Gateway) {
    Route local;
    local.destination = prefix("10.20.0.1");
    local.table = kTable;
    local.type = Route::Type::local;
    local.oif = find_link("lo")->index;
    Route with_source = via("203.0.113.0/24", "198.51.100.1", wan);
    with_source.preferred_source = address("198.51.100.2");
    with_source.metric = 7;
    Route device;
    device.destination = prefix("10.20.0.0/24");
    device.table = kTable;
    device.oif = wan;
    const std::vector<Route> desired{local,
                                     with_source,
                                     device,
                                     unreachable("0.0.0.0/0"),
                                     unreachable("::/0"),
                                     via("2001:db8:203::/64", "2001:db8:100::1", wan)};
    for (const auto& route : desired) {
        const auto added = replace_route(route);
        BOOST_REQUIRE_MESSAGE(added, (added ? "" : added.error().message()));
    }
    const auto actual = list_routes(kTable);
    BOOST_REQUIRE(actual);
    BOOST_TEST(actual->size() == desired.size());
    for (const auto& route : desired)
        BOOST_TEST(contains(*actual, route), route.str());
    for (const auto& route : desired)
        BOOST_TEST(delete_route(route).has_value(), route.str());
    BOOST_TEST(list_routes(kTable)->empty());
    BOOST_TEST(delete_route(desired[0]).error().code() == ESRCH);
}

BOOST_FIXTURE_TEST_CASE(replaces_a_route_by_one_of_another_type, Gateway) {
    for (const auto& [destination, gateway] :
         {std::pair("203.0.113.0/24", "198.51.100.1"), std::pair("2001:db8:203::/64", "2001:db8:100::1")}) {
        const Route open = via(destination, gateway, wan);
        const Route shut = unreachable(destination);
        for (const auto& route : {shut, open, shut}) {
            BOOST_REQUIRE(replace_route(route));
            const auto actual = list_routes(kTable);
            BOOST_REQUIRE(actual && actual->size() == 1);
            BOOST_CHECK(actual->front() == route);
            BOOST_CHECK(actual->front() != (route == open ? shut : open));
        }
        BOOST_REQUIRE(delete_route(shut));
    }
}

BOOST_FIXTURE_TEST_CASE(names_the_route_and_the_kernels_reason, Gateway) {
    const auto refused = replace_route(via("203.0.113.0/24", "192.0.2.77", wan));
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().message() == "cannot add route 203.0.113.0/24 via 192.0.2.77 dev " +
                                                std::to_string(wan) +
                                                ": Network is unreachable (Nexthop has invalid gateway)");
    BOOST_TEST(refused.error().code() == ENETUNREACH);
}

BOOST_FIXTURE_TEST_CASE(several_next_hops_equal_no_route_of_ours, Gateway) {
    ip("route add 203.0.113.0/24 table 20480 proto 181 nexthop via 198.51.100.1 nexthop via 198.51.100.3");
    const auto actual = list_routes(kTable);
    BOOST_REQUIRE(actual && actual->size() == 1);
    BOOST_CHECK(actual->front() != actual->front());
}

BOOST_FIXTURE_TEST_CASE(looks_up_by_mark_and_says_unreachable_alike_for_both_families, Gateway) {
    BOOST_REQUIRE(replace_route(unreachable("203.0.113.0/24")));
    BOOST_REQUIRE(replace_route(unreachable("2001:db8:203::/64")));
    ip("route add default via 198.51.100.1");
    ip("-6 route add default via 2001:db8:100::1");
    for (const int family : {AF_INET, AF_INET6}) {
        Rule rule;
        rule.family = family;
        rule.priority = 50;
        rule.fwmark = std::pair(0x10000000U, 0x30000000U);
        rule.table = kTable;
        BOOST_REQUIRE(add_rule(rule));
    }
    for (const auto& [destination, gateway] :
         {std::pair("203.0.113.9", "198.51.100.1"), std::pair("2001:db8:203::9", "2001:db8:100::1")}) {
        const auto unmarked = lookup_route(address(destination), 0);
        BOOST_REQUIRE(unmarked);
        BOOST_TEST(unmarked->oif == wan);
        BOOST_TEST(unmarked->gateway->str() == gateway);
        BOOST_TEST(unmarked->source.has_value());
        BOOST_TEST(lookup_route(address(destination), 0x10000001).error().code() == EHOSTUNREACH);
    }
    BOOST_CHECK(lookup_route(address("198.51.100.2"), 0)->type == Route::Type::local);
}

BOOST_FIXTURE_TEST_CASE(rules_come_back_as_they_were_written, Gateway) {
    for (const int family : {AF_INET, AF_INET6}) {
        Rule by_iif;
        by_iif.family = family;
        by_iif.priority = 100;
        by_iif.iif = "lan0.10"; // does not exist yet
        by_iif.table = kTable;
        Rule by_destination;
        by_destination.family = family;
        by_destination.priority = 110;
        by_destination.to = prefix(family == AF_INET ? "203.0.113.0/24" : "2001:db8:203::/64");
        by_destination.from = prefix(family == AF_INET ? "10.0.0.0/8" : "fd00::/8");
        by_destination.table = kTable;
        Rule not_marked = by_destination;
        not_marked.priority = 120;
        not_marked.fwmark = std::pair(0x20000000U, 0x30000000U);
        not_marked.invert = true;
        not_marked.action = Rule::Action::unreachable;
        not_marked.table = 0;
        for (const auto& rule : {by_iif, by_destination, not_marked}) {
            BOOST_REQUIRE(add_rule(rule));
            BOOST_TEST(add_rule(rule).error().code() == EEXIST);
            const auto all = list_rules();
            BOOST_REQUIRE(all);
            BOOST_TEST(contains(*all, rule), rule.str());
        }
        for (const auto& rule : {by_iif, by_destination, not_marked}) {
            BOOST_REQUIRE(delete_rule(rule));
            BOOST_TEST(!contains(*list_rules(), rule), rule.str());
            BOOST_TEST(delete_rule(rule).error().code() == ENOENT);
        }
    }
}

BOOST_FIXTURE_TEST_CASE(moves_the_local_rule_behind_ours, Gateway) {
    for (const int family : {AF_INET, AF_INET6}) {
        Rule moved;
        moved.family = family;
        moved.priority = 200;
        moved.table = kLocalTable;
        BOOST_REQUIRE(add_rule(moved));
        Rule original = moved;
        original.priority = 0;
        original.protocol = 2; // RTPROT_KERNEL
        BOOST_TEST(contains(*list_rules(), original));
        BOOST_REQUIRE(delete_rule(original));
        const auto all = list_rules();
        BOOST_TEST(contains(*all, moved));
        BOOST_TEST(!contains(*all, original));
        BOOST_REQUIRE(add_rule(original)); // and back
        BOOST_TEST(contains(*list_rules(), original));
    }
    BOOST_CHECK(lookup_route(address("198.51.100.2"), 0)->type == Route::Type::local);
}

BOOST_FIXTURE_TEST_CASE(a_rule_with_selectors_it_does_not_know_is_foreign, Gateway) {
    ip("rule add pref 100 ipproto 6 dport 22 table 20480 protocol 181");
    ip("rule add pref 101 table 20480 suppress_prefixlength 0 protocol 181");
    const auto all = list_rules();
    BOOST_REQUIRE(all);
    for (const std::uint32_t priority : {100U, 101U}) {
        const auto it = std::find_if(all->begin(), all->end(), [&](const Rule& r) { return r.priority == priority; });
        BOOST_REQUIRE(it != all->end());
        BOOST_TEST(it->foreign);
        BOOST_TEST(delete_rule(*it).error().code() == EINVAL);
    }
}

BOOST_FIXTURE_TEST_CASE(the_monitor_says_which_kind_changed, Gateway) {
    auto monitor = Monitor::make();
    BOOST_REQUIRE(monitor);
    BOOST_TEST(!monitor->drain()->any());
    BOOST_REQUIRE(replace_route(unreachable("203.0.113.0/24")));
    auto changes = changes_within_a_second(*monitor);
    BOOST_TEST(changes.routes);
    BOOST_TEST((!changes.links && !changes.rules && !changes.addresses && !changes.overrun));
    BOOST_REQUIRE(replace_route(unreachable("2001:db8:203::/64")));
    BOOST_TEST(changes_within_a_second(*monitor).routes);
    ip("rule add pref 100 table 20480");
    BOOST_TEST(changes_within_a_second(*monitor).rules);
    ip("-6 rule add pref 100 table 20480");
    BOOST_TEST(changes_within_a_second(*monitor).rules);
    ip("addr add 198.51.100.3/32 dev wan0");
    BOOST_TEST(changes_within_a_second(*monitor).addresses);
    ip("link set wan0 mtu 1400");
    BOOST_TEST(changes_within_a_second(*monitor).links);
}

BOOST_FIXTURE_TEST_CASE(a_flood_of_notifications_is_an_overrun_and_not_a_silence, Gateway) {
    auto monitor = Monitor::make();
    BOOST_REQUIRE(monitor);
    const int tiny = 1;
    BOOST_REQUIRE(setsockopt(monitor->fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny) == 0);
    for (int i = 0; i < 100; i++)
        BOOST_REQUIRE(replace_route(unreachable(("10.77." + std::to_string(i) + ".0/24").c_str())));
    const auto changes = changes_within_a_second(*monitor);
    BOOST_TEST(changes.overrun);
    BOOST_TEST((changes.links && changes.addresses && changes.routes && changes.rules));
}

BOOST_FIXTURE_TEST_CASE(lists_more_routes_than_fit_into_one_answer, Gateway) {
    for (int i = 0; i < 2000; i++)
        BOOST_REQUIRE(replace_route(
            unreachable(("10." + std::to_string(i / 250) + "." + std::to_string(i % 250) + ".0/24").c_str())));
    BOOST_TEST(list_routes(kTable)->size() == 2000U);
}

BOOST_AUTO_TEST_SUITE_END()
