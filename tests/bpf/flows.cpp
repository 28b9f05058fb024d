// Replies pass for what a device asked, as long as the policy of this moment allows it.
#include "tests/bpf/gateway.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <iterator>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

Bytes request(std::uint16_t port = 40000, const char* to = "203.0.113.10") {
    return Ethernet{} / IPv4{.destination = to} / Udp{port, 5000};
}
Bytes reply(std::uint16_t port = 40000, const char* from = "203.0.113.10") {
    return Ethernet{} / IPv4{from, "10.20.0.12"} / Udp{5000, port};
}

struct Direct {
    explicit Direct(Gateway& gateway) : map(must(gateway.programs.map_fd("device_state"))) {
        BOOST_REQUIRE(bpf_map_lookup_elem(map.get(), &slot, &state) == 0);
    }
    void write() { BOOST_REQUIRE(bpf_map_update_elem(map.get(), &slot, &state, BPF_ANY) == 0); }
    [[nodiscard]] std::ptrdiff_t used() const {
        return std::count_if(std::begin(state.flow), std::end(state.flow),
                             [](const auto& f) { return f.version != 0; });
    }
    std::uint32_t slot = 1;
    Fd map;
    penstock_device_state state;
};

BOOST_AUTO_TEST_SUITE(flows, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(a_reply_needs_a_request_before_it) {
    Gateway gateway;
    BOOST_TEST(gateway.to_device(reply()) == "no_flow");
    BOOST_TEST(gateway.from_device(request()) == "pass");
    BOOST_TEST(gateway.to_device(reply()) == "pass");
}

BOOST_AUTO_TEST_CASE(a_refused_request_makes_no_flow) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Udp{40000, 4999}) == "not_allowed");
    BOOST_TEST(gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Udp{4999, 40000}) == "no_flow");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.destination = "198.51.100.1"} / Tcp{}) == "no_tunnel");
    BOOST_TEST(Direct(gateway).used() == 0);
}

BOOST_AUTO_TEST_CASE(a_policy_change_takes_a_right_away_in_both_directions_at_once) {
    const Bytes request6 = Ethernet{} / IPv6{} / Tcp{},
                reply6 = Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"} / Tcp{443, 40000};
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    BOOST_TEST(gateway.from_device(request6) == "pass");
    auto tables = Gateway::policy();
    tables.blocks[0].rules = {rule("tcp", "203.0.113.0/24", 443, 443)};
    must(gateway.store.stage(tables));
    BOOST_TEST(gateway.from_device(request()) == "pass"); // staged is not in force
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    must(gateway.store.commit());
    BOOST_TEST(gateway.to_device(reply()) == "not_allowed");
    BOOST_TEST(gateway.from_device(request()) == "not_allowed");
    BOOST_TEST(gateway.to_device(reply6) == "not_allowed");
    BOOST_TEST(gateway.from_device(request6) == "not_allowed");
    // A refusal must not confirm the flow either.
    BOOST_TEST(gateway.to_device(reply()) == "not_allowed");
    gateway.enforce(Gateway::policy());
    BOOST_TEST(gateway.to_device(reply()) == "pass");
}

BOOST_AUTO_TEST_CASE(a_policy_change_keeps_what_both_policies_allow) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    for (int i = 0; i < 3; i++) {
        gateway.enforce(Gateway::policy());
        BOOST_TEST(gateway.to_device(reply()) == "pass"); // confirmed by the reply
        gateway.enforce(Gateway::policy());
        BOOST_TEST(gateway.from_device(request()) == "pass"); // confirmed by the request
    }
    BOOST_TEST(Direct(gateway).used() == 1);
}

BOOST_AUTO_TEST_CASE(a_device_that_left_the_policy_loses_its_replies) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    auto tables = Gateway::policy();
    tables.devices.erase(tables.devices.begin());
    gateway.enforce(tables);
    BOOST_TEST(gateway.from_device(request()) == "unknown_device");
    BOOST_TEST(gateway.to_device(reply()) == "no_device");
}

BOOST_AUTO_TEST_CASE(a_slot_with_a_new_owner_starts_from_nothing) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    must(gateway.counters.assign(1, mac("02:00:00:00:00:98")));
    BOOST_TEST(gateway.to_device(reply()) == "no_flow");
    BOOST_TEST(gateway.counters.device(1).out_packets == 0U);
}

BOOST_AUTO_TEST_CASE(one_devices_flood_never_evicts_anothers_flow) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    for (std::uint16_t port = 1; port <= 2000; port++)
        BOOST_REQUIRE(gateway.from_device(Ethernet{.source = "02:00:00:00:00:13"} / IPv4{.source = "10.20.0.13"} /
                                          Udp{port, port}) == "pass");
    BOOST_TEST(gateway.to_device(reply()) == "pass");
}

BOOST_AUTO_TEST_CASE(remembers_sixteen_flows_and_always_the_newest) {
    Gateway gateway;
    for (std::uint16_t port = 1; port <= 500; port++) {
        BOOST_REQUIRE(gateway.from_device(request(port)) == "pass");
        BOOST_REQUIRE(gateway.to_device(reply(port)) == "pass");
    }
    BOOST_TEST(Direct(gateway).used() == 16);
    int known = 0;
    for (std::uint16_t port = 1; port <= 500; port++)
        known += gateway.to_device(reply(port)) == "pass" ? 1 : 0;
    BOOST_TEST(known == 16);
}

BOOST_AUTO_TEST_CASE(evicts_the_flow_that_was_silent_longest) {
    Gateway gateway;
    for (std::uint16_t port = 1; port <= 200; port++)
        BOOST_REQUIRE(gateway.from_device(request(port)) == "pass");
    Direct direct(gateway);
    std::uint16_t fresh[PENSTOCK_FLOW_SETS];
    for (int set = 0; set < PENSTOCK_FLOW_SETS; set++)
        for (int way = 0; way < PENSTOCK_FLOW_WAYS; way++) {
            auto& flow = direct.state.flow[set * PENSTOCK_FLOW_WAYS + way];
            flow.last_seen -= way == 1 ? 10U : 100U + static_cast<unsigned>(way);
            if (way == 1)
                fresh[set] = ntohs(flow.local_port_be);
        }
    direct.write();
    for (std::uint16_t port = 1000; port < 1003; port++)
        BOOST_REQUIRE(gateway.from_device(request(port)) == "pass");
    for (std::uint16_t port = 1000; port < 1003; port++)
        BOOST_TEST(gateway.to_device(reply(port)) == "pass");
    int kept = 0;
    for (const auto port : fresh)
        kept += gateway.to_device(reply(port)) == "pass" ? 1 : 0;
    BOOST_TEST(kept == 4); // each set has three that were silent for longer
}

BOOST_AUTO_TEST_CASE(forgets_udp_after_five_minutes_and_tcp_after_two_hours) {
    Gateway gateway;
    const Bytes tcp_reply = Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000};
    BOOST_TEST(gateway.from_device(request()) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
    const auto age = [&](std::uint32_t units) {
        Direct direct(gateway);
        for (auto& flow : direct.state.flow)
            flow.last_seen -= units;
        direct.write();
    };
    age(290);
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    age(310);
    BOOST_TEST(gateway.to_device(reply()) == "no_flow");
    BOOST_TEST(gateway.to_device(tcp_reply) == "pass");
    BOOST_TEST(gateway.from_device(request()) == "pass"); // asks again
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    age(7210);
    BOOST_TEST(gateway.to_device(tcp_reply) == "no_flow");
}

BOOST_AUTO_TEST_CASE(a_request_keeps_the_flow_alive) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    for (int i = 0; i < 3; i++) {
        Direct direct(gateway);
        for (auto& flow : direct.state.flow)
            flow.last_seen -= 200;
        direct.write();
        BOOST_TEST(gateway.from_device(request()) == "pass");
    }
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    BOOST_TEST(Direct(gateway).used() == 1);
}

BOOST_AUTO_TEST_CASE(ignores_a_flow_that_is_being_written) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    Direct direct(gateway);
    for (auto& flow : direct.state.flow)
        flow.version |= 1;
    direct.write();
    BOOST_TEST(gateway.to_device(reply()) == "no_flow");
    BOOST_TEST(gateway.from_device(request()) == "pass"); // judged by the rules instead
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
