// agent/core: the rule book's words as the packet path's, and when what was compiled is out of date.
#include "agent/core/schedule.hpp"
#include "agent/core/to_tables.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::core;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

BOOST_AUTO_TEST_SUITE(core_to_tables)

BOOST_AUTO_TEST_CASE(every_word_of_a_rule_arrives) {
    const auto policy = read_ok(replaced(
        replaced(
            kYaml, "{ to: [192.0.2.123/32], ports: [udp/123] }",
            "{ from: [10.50.0.0/24, \"group:thermostats\", \"device:thermostat-12\"], ports: [tcp/22-23], require: tls }"),
        "cameras:     { allow: [time] }",
        "cameras: { allow: [time], deny: [telemetry], rate: 1mbit, packet_rate: 10, lan: { dns: on } }"));
    const auto tables = to_tables(policy::compile(policy, policy::now()), {7, 9});
    BOOST_REQUIRE(tables.devices.size() == 2U);
    const auto& camera = tables.devices[0];
    BOOST_TEST(camera.slot == 7U);
    BOOST_TEST(tables.devices[1].slot == 9U);
    BOOST_CHECK(camera.groups == std::vector<std::uint32_t>{0});
    const auto& block = tables.blocks[camera.block];
    BOOST_TEST(block.bytes_per_second == 125'000U);
    BOOST_TEST(block.packets_per_second == 10U);
    BOOST_TEST(block.lan.dns);
    BOOST_TEST(block.lan.arp_nd);
    BOOST_REQUIRE(block.rules.size() == 7U); // 2 prefixes x 2 ports denied, three peers allowed
    for (int i = 0; i < 4; i++)
        BOOST_CHECK(!block.rules[i].allow && block.rules[i].direction == datapath::Direction::to);
    const auto& network = block.rules[4];
    BOOST_CHECK(network.allow && network.direction == datapath::Direction::from);
    BOOST_CHECK(network.peer == datapath::Peer::network && network.require == datapath::Require::tls);
    BOOST_CHECK(network.address == IpAddress::parse("10.50.0.0")->mapped());
    BOOST_TEST(network.prefix_length == 96U + 24U);
    BOOST_TEST(network.proto == 6U);
    BOOST_TEST(network.port_low == 22U);
    BOOST_TEST(network.port_high == 23U);
    BOOST_CHECK(block.rules[5].peer == datapath::Peer::group);
    BOOST_TEST(block.rules[5].index == 1U); // thermostats
    BOOST_CHECK(block.rules[6].peer == datapath::Peer::device);
    BOOST_TEST(block.rules[6].index == 9U); // a slot, not an index of the policy
}

BOOST_AUTO_TEST_CASE(a_device_is_believed_on_its_lan_and_nowhere_if_there_is_none_of_that_name) {
    const auto policy = read_ok(replaced(kYaml, "name: camera-1,", "name: camera-1, interface: lan7,"));
    const auto ifindex = [&](const std::vector<net::Link>& links) {
        const auto tables = to_tables(policy::compile(policy, policy::now()), {0, 1}, interfaces_of(policy, links));
        BOOST_TEST(tables.devices[1].ifindex == 0U); // bound to none
        return tables.devices[0].ifindex;
    };
    net::Link lan;
    lan.name = "lan7";
    lan.index = 12;
    net::Link other;
    other.name = "lan8";
    other.index = 13;
    BOOST_TEST(ifindex({other, lan}) == 12U);
    BOOST_TEST(ifindex({other}) == kNoInterface);
}

BOOST_AUTO_TEST_CASE(a_schedule_is_due_at_its_change_and_when_the_clock_went_back) {
    const auto at = *policy::parse_time("2026-11-20T12:00:00Z");
    const Schedule schedule{at, at + std::chrono::hours(8)};
    BOOST_TEST(!schedule.due(at));
    BOOST_TEST(!schedule.due(at + std::chrono::hours(8) - std::chrono::seconds(1)));
    BOOST_TEST(schedule.due(at + std::chrono::hours(8)));
    BOOST_TEST(schedule.due(at + std::chrono::days(3'650)));
    BOOST_TEST(schedule.due(at - std::chrono::seconds(1)));
    const Schedule always{at, std::nullopt};
    BOOST_TEST(!always.due(at + std::chrono::days(3'650)));
}

BOOST_AUTO_TEST_SUITE_END()
