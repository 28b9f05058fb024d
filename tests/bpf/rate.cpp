// What a device may send in a time, by bytes and by packets.
#include "tests/bpf/gateway.hpp"

#include <thread>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Bytes kFrame = Ethernet{} / IPv4{} / Udp{} / Payload{Bytes(958, 0)}; // 1,000 bytes

void limit(Gateway& gateway, std::uint64_t bytes, std::uint64_t packets) {
    auto tables = Gateway::policy();
    tables.blocks[0].bytes_per_second = bytes;
    tables.blocks[0].packets_per_second = packets;
    gateway.enforce(tables);
}

// How many of `count` pass at once.
int burst(Gateway& gateway, int count) {
    int passed = 0;
    for (int i = 0; i < count; i++) {
        const auto verdict = gateway.from_device(kFrame);
        BOOST_REQUIRE((verdict == "pass" || verdict == "rate"));
        passed += verdict == "pass" ? 1 : 0;
    }
    return passed;
}

BOOST_AUTO_TEST_SUITE(rate, *utf::precondition(can_run_bpf))

using Clock = std::chrono::steady_clock;

// What 100 a second allow since `begin`: 250 ms worth, the packet that crosses the line, and the clock's own steps.
int most_since(Clock::time_point begin) {
    return static_cast<int>(100 * std::chrono::duration<double>(Clock::now() - begin).count()) + 25 + 3;
}

BOOST_AUTO_TEST_CASE(what_is_over_the_rate_is_dropped_and_counted) {
    Gateway gateway;
    limit(gateway, 0, 100);
    auto begin = Clock::now();
    const int packets = burst(gateway, 400);
    BOOST_TEST(packets >= 25);
    BOOST_TEST(packets <= most_since(begin));
    limit(gateway, 100000, 0);
    begin = Clock::now();
    const int bytes = burst(gateway, 400);
    BOOST_TEST(bytes >= 25);
    BOOST_TEST(bytes <= most_since(begin));
}

BOOST_AUTO_TEST_CASE(it_comes_back_with_time) {
    Gateway gateway;
    limit(gateway, 0, 40);
    BOOST_TEST(burst(gateway, 100) < 40);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    BOOST_TEST(burst(gateway, 5) == 5);
}

BOOST_AUTO_TEST_CASE(a_device_without_a_limit_and_other_devices_do_not_notice) {
    Gateway gateway;
    limit(gateway, 1, 1);
    BOOST_TEST(burst(gateway, 20) <= 2);
    for (std::uint16_t port = 1; port < 100; port++)
        BOOST_TEST(gateway.from_device(Ethernet{.source = "02:00:00:00:00:13"} / IPv4{.source = "10.20.0.13"} /
                                       Udp{port, 9}) == "pass");
    limit(gateway, 0, 0);
    BOOST_TEST(burst(gateway, 100) == 100);
}

BOOST_AUTO_TEST_CASE(what_devices_share_is_spent_by_any_of_them) {
    Gateway gateway;
    auto tables = Gateway::policy();
    tables.blocks[1].totals = tables.blocks[0].totals = {{.bucket = 7, .bytes_per_second = 1'000'000},
                                                         {.bucket = 4095, .bytes_per_second = 100'000}};
    gateway.enforce(tables);
    const Bytes neighbours =
        Ethernet{.source = "02:00:00:00:00:13"} / IPv4{.source = "10.20.0.13"} / Udp{} / Payload{Bytes(958, 0)};
    const auto begin = Clock::now();
    int passed = 0;
    for (int i = 0; i < 200; i++)
        for (const auto& frame : {kFrame, neighbours})
            passed += gateway.from_device(frame) == "pass" ? 1 : 0;
    BOOST_TEST(passed >= 25);
    BOOST_TEST(passed <= most_since(begin));
    tables.blocks[0].totals = {{.bucket = 8, .bytes_per_second = 100'000}}; // a bucket that is full
    gateway.enforce(tables);
    BOOST_TEST(burst(gateway, 20) == 20);
}

// A slow rate leaves a debt of hours; under a policy that gives more nobody waits for that.
BOOST_AUTO_TEST_CASE(a_debt_ends_with_the_policy_that_made_it) {
    Gateway gateway;
    limit(gateway, 1, 0);
    BOOST_TEST(burst(gateway, 5) == 1);
    limit(gateway, 1'000'000, 0);
    BOOST_TEST(burst(gateway, 20) == 20);
}

// Two CPUs that spend from one bucket never get more than it holds.
BOOST_AUTO_TEST_CASE(races_give_nothing_away) {
    Gateway gateway;
    limit(gateway, 0, 1000);
    const auto spend = [&] {
        run_program(gateway.programs, datapath::Hook::lan_ingress, kFrame,
                    {.ifindex = gateway.lan, .ingress_ifindex = gateway.lan}, 20000);
    };
    const auto begin = std::chrono::steady_clock::now();
    std::thread other(spend);
    spend();
    other.join();
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    BOOST_TEST(static_cast<double>(gateway.counters.device(1).out_packets) <= 1000 * (seconds + 0.27) + 2);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
