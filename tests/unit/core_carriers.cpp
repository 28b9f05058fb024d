// agent/core: what stands below an uplink, by table.
#include "agent/core/carriers.hpp"

#include <boost/test/unit_test.hpp>
#include <linux/if_ether.h>

using namespace penstock;
using namespace penstock::core;

namespace {

net::Link link(int index, const char* name, const char* kind = "", int lower = 0, int master = 0) {
    return {.index = index, .name = name, .kind = kind, .master = master, .lower = lower};
}

net::Link vlan(int index, const char* name, int lower, std::uint16_t id, std::uint16_t protocol = ETH_P_8021Q) {
    auto out = link(index, name, "vlan", lower);
    out.vlan = id;
    out.vlan_protocol = protocol;
    return out;
}

Config uplinks(std::vector<std::string> names) {
    Config config;
    config.lan = {"lan0"};
    config.uplink = std::move(names);
    return config;
}

using Steps = std::vector<datapath::Carried>;

BOOST_AUTO_TEST_SUITE(core_carriers)

BOOST_AUTO_TEST_CASE(nothing_stands_below_a_card) {
    const auto found =
        find_carriers(uplinks({"wan0"}), {.links = {link(1, "lan0"), link(2, "wan0"), link(3, "eth9")}}, {});
    BOOST_TEST(found.links.empty());
    BOOST_TEST(found.carried.empty());
}

BOOST_AUTO_TEST_CASE(goes_down_to_the_hardware) {
    const NetworkView network{.links = {link(2, "eth0", "", 0, 4), link(3, "eth1", "", 0, 4), link(4, "bond0", "bond"),
                                        vlan(5, "bond0.100", 4, 100, ETH_P_8021AD), vlan(6, "wan0.7", 5, 7),
                                        vlan(7, "other", 4, 8)}};
    const auto found = find_carriers(uplinks({"wan0.7"}), network, {});
    const Steps expected{{.carrier = 5, .ethertype = ETH_P_8021Q, .id = 7, .upper = 6},
                         {.carrier = 4, .ethertype = ETH_P_8021AD, .id = 100, .upper = 5},
                         {.carrier = 2, .upper = 4},
                         {.carrier = 3, .upper = 4}};
    BOOST_TEST((found.carried == expected));
    BOOST_TEST(found.links.size() == 4U);
    BOOST_TEST(found.links.at(2).flags == (PENSTOCK_LINK_CARRIES | PENSTOCK_LINK_LACP));
    BOOST_TEST(found.links.at(4).flags == unsigned{PENSTOCK_LINK_CARRIES});
    BOOST_TEST((found.links.at(3).uplinks == std::set<std::string>{"wan0.7"}));
}

BOOST_AUTO_TEST_CASE(pppoe_needs_its_carrier_before_there_is_a_session) {
    auto config = uplinks({"ppp0"});
    config.pppoe = {{.uplink = "ppp0", .carrier = "wan0.7"}};
    NetworkView network{.links = {link(2, "wan0"), vlan(3, "wan0.7", 2, 7)}};
    auto found = find_carriers(config, network, {});
    BOOST_TEST(found.links.at(3).flags == (PENSTOCK_LINK_CARRIES | PENSTOCK_LINK_PPPOE));
    BOOST_TEST((found.carried == Steps{{.carrier = 2, .ethertype = ETH_P_8021Q, .id = 7, .upper = 3}}));
    network.links.push_back(link(9, "ppp0", "ppp"));
    const std::vector<net::PppoeSession> sessions{{.id = 0x1234, .interface = "wan0.7"},
                                                  {.id = 5, .interface = "eth9"}};
    found = find_carriers(config, network, sessions);
    BOOST_TEST((found.carried == Steps{{.carrier = 2, .ethertype = ETH_P_8021Q, .id = 7, .upper = 3},
                                       {.carrier = 3, .ethertype = ETH_P_PPP_SES, .id = 0x1234, .upper = 9}}));
}

BOOST_AUTO_TEST_CASE(a_lan_carries_nothing) {
    const NetworkView network{.links = {link(1, "lan0", "", 0, 3), link(2, "wan0", "", 0, 3),
                                        link(3, "br-wan", "bridge"), vlan(4, "lan0.7", 1, 7)}};
    const auto found = find_carriers(uplinks({"br-wan", "lan0.7"}), network, {});
    BOOST_TEST(!found.links.contains(1));
    BOOST_TEST((found.carried == Steps{{.carrier = 2, .upper = 3}}));
    BOOST_TEST((footing(uplinks({"br-wan"}), network, "br-wan") == std::set<int>{1, 2, 3}));
    BOOST_TEST((footing(uplinks({"lan0.7"}), network, "lan0.7") == std::set<int>{1, 4}));
}

BOOST_AUTO_TEST_CASE(links_that_stand_on_each_other_end) {
    const auto found = find_carriers(uplinks({"a"}), {.links = {vlan(1, "a", 2, 7), vlan(2, "b", 1, 8)}}, {});
    BOOST_TEST(found.links.size() == 2U);
}

BOOST_AUTO_TEST_CASE(sessions_are_read_as_the_kernel_writes_them) {
    const auto found = net::parse_pppoe_sessions("Id       Address              Device\n"
                                                 "00003412 02:00:00:00:51:01     wan0\n"
                                                 "nonsense\n"
                                                 "00012345 02:00:00:00:51:01     wan0\n");
    BOOST_TEST((found == std::vector<net::PppoeSession>{{.id = 0x1234, .interface = "wan0"}}));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
