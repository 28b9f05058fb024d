// Replies pass for what a device asked, as long as the policy of this moment allows it.
#include "tests/bpf/gateway.hpp"

#include <algorithm>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

Bytes request(std::uint16_t port = 40000, const char* to = "203.0.113.10") {
    return Ethernet{} / IPv4{.destination = to} / Udp{port, 5000};
}
Bytes reply(std::uint16_t port = 40000, const char* from = "203.0.113.10") {
    return Ethernet{} / IPv4{from, "10.20.0.12"} / Udp{5000, port};
}

// The flows of device 12 over IPv4, written and read behind the packet path's back.
struct Direct {
    explicit Direct(const Gateway& gateway)
        : state(must(datapath::MappedArray::open(must(gateway.programs.map_fd("device_state"))))),
          flow(reinterpret_cast<penstock_flow4*>(state.at(1) + sizeof(penstock_device_state) + kFlows)) {}
    [[nodiscard]] std::ptrdiff_t used() const {
        return std::count_if(flow, flow + kFlows, [](const auto& f) { return f.meta != 0; });
    }
    // Makes every flow this much older, in units of 2^33 ns.
    void age(std::uint64_t units) const {
        constexpr std::uint64_t kSeen = ((1ULL << 21) - 1) << PENSTOCK_FLOW_SEEN;
        for (auto* f = flow; f != flow + kFlows; f++)
            if (f->meta != 0)
                f->meta = (f->meta & ~kSeen) | ((f->meta - (units << PENSTOCK_FLOW_SEEN)) & kSeen);
    }
    static constexpr std::uint16_t kFlows = 64;
    datapath::MappedArray state;
    penstock_flow4* flow;
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
                reply6 = Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"} / Tcp{443, 40000, 0x12};
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
    must(gateway.counters.assign({{mac("02:00:00:00:00:98"), 1}}));
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

BOOST_AUTO_TEST_CASE(remembers_64_flows_and_always_the_newest) {
    Gateway gateway;
    for (std::uint16_t port = 1; port <= 500; port++) {
        BOOST_REQUIRE(gateway.from_device(request(port)) == "pass");
        BOOST_REQUIRE(gateway.to_device(reply(port)) == "pass");
    }
    BOOST_TEST(Direct(gateway).used() == Direct::kFlows);
    BOOST_TEST(gateway.counters.device(1).evicted_flows == 500U - Direct::kFlows);
    int known = 0;
    for (std::uint16_t port = 1; port <= 500; port++)
        known += gateway.to_device(reply(port)) == "pass" ? 1 : 0;
    BOOST_TEST(known == Direct::kFlows);
}

BOOST_AUTO_TEST_CASE(no_wrong_verdict_with_64_concurrent_flows) {
    for (const bool six : {false, true}) {
        Gateway gateway;
        const auto out = [&](std::uint16_t port) {
            return gateway.from_device(six ? Bytes(Ethernet{} / IPv6{} / Udp{port, 5000}) : request(port));
        };
        const auto in = [&](std::uint16_t port) {
            return gateway.to_device(six ? Bytes(Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"} / Udp{5000, port})
                                         : reply(port));
        };
        for (int churn = 0; churn < 300; churn++) // what was before and is over
            BOOST_REQUIRE(out(static_cast<std::uint16_t>(1000 + churn)) == "pass");
        for (int round = 0; round < 5; round++)
            for (std::uint16_t port = 1; port <= Direct::kFlows; port++) {
                BOOST_REQUIRE(out(port) == "pass");
                BOOST_REQUIRE(in(port) == "pass");
            }
        for (std::uint16_t port = 1; port <= Direct::kFlows; port++)
            BOOST_TEST(in(port) == "pass");
        BOOST_TEST(in(1299) == "no_flow");
    }
}

BOOST_AUTO_TEST_CASE(a_flow_that_is_used_stays_while_others_come_and_go) {
    Gateway gateway;
    BOOST_REQUIRE(gateway.from_device(request(1)) == "pass");
    for (std::uint16_t port = 1000; port < 3000; port++) {
        BOOST_REQUIRE(gateway.from_device(request(port)) == "pass");
        if (port % 32 == 0)
            BOOST_REQUIRE(gateway.to_device(reply(1)) == "pass");
    }
    BOOST_TEST(gateway.to_device(reply(1)) == "pass");
}

// 8.6 s is the unit of a flow's clock.
BOOST_AUTO_TEST_CASE(forgets_udp_after_five_minutes_and_tcp_after_two_hours) {
    Gateway gateway;
    const Bytes tcp_reply = Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000, 0x12};
    BOOST_TEST(gateway.from_device(request()) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
    Direct(gateway).age(33);
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    Direct(gateway).age(37);
    BOOST_TEST(gateway.to_device(reply()) == "no_flow");
    BOOST_TEST(gateway.to_device(tcp_reply) == "pass");
    BOOST_TEST(gateway.from_device(request()) == "pass"); // asks again
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    Direct(gateway).age(842);
    BOOST_TEST(gateway.to_device(tcp_reply) == "no_flow");
}

BOOST_AUTO_TEST_CASE(a_request_keeps_the_flow_alive) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    for (int i = 0; i < 3; i++) {
        Direct(gateway).age(25);
        BOOST_TEST(gateway.from_device(request()) == "pass");
    }
    BOOST_TEST(gateway.to_device(reply()) == "pass");
    BOOST_TEST(Direct(gateway).used() == 1);
}

BOOST_AUTO_TEST_CASE(ignores_a_flow_that_is_being_written) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(request()) == "pass");
    const Direct direct(gateway);
    for (auto* f = direct.flow; f != direct.flow + Direct::kFlows; f++)
        f->meta |= 1ULL << PENSTOCK_FLOW_BUSY;
    BOOST_TEST(gateway.to_device(reply()) == "no_flow");
    BOOST_TEST(gateway.from_device(request()) == "pass"); // judged by the rules instead
}

// Two addresses of a device are two keys; one that it loses takes its flows along, also if it comes back.
BOOST_AUTO_TEST_CASE(an_address_that_leaves_the_device_takes_its_flows_along) {
    Gateway gateway;
    auto both = Gateway::policy();
    both.devices[0].addresses.push_back(address("10.20.0.14"));
    const Bytes request_14 = Ethernet{} / IPv4{.source = "10.20.0.14"} / Udp{40000, 5000},
                reply_14 = Ethernet{.destination = "02:00:00:00:00:12"} / IPv4{"203.0.113.10", "10.20.0.14"} /
                           Udp{5000, 40000};
    gateway.enforce(both);
    BOOST_TEST(gateway.from_device(request()) == "pass");
    BOOST_TEST(gateway.to_device_as_is(reply_14) == "no_flow");
    BOOST_TEST(gateway.from_device(request_14) == "pass");
    BOOST_TEST(gateway.to_device_as_is(reply_14) == "pass");
    gateway.enforce(Gateway::policy());
    BOOST_TEST(gateway.to_device_as_is(reply_14) == "no_device");
    gateway.enforce(both);
    BOOST_TEST(gateway.to_device_as_is(reply_14) == "no_flow");
    BOOST_TEST(gateway.to_device(reply()) == "pass"); // of the address that stayed
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
