// policy/oracle: verdicts, their reasons, and citations that a person can follow.
#include "policy/oracle.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::read_ok;

namespace {

Verdict ask(const char* mac, const char* source, const char* destination, std::uint8_t proto, std::uint16_t port) {
    return judge(read_ok(),
                 {*MacAddress::parse(mac), *IpAddress::parse(source), *IpAddress::parse(destination), proto, port});
}

constexpr const char* kThermostat = "02:00:00:00:00:12";

} // namespace

BOOST_AUTO_TEST_SUITE(policy_oracle)

BOOST_AUTO_TEST_CASE(allows_by_a_named_line_of_a_named_version) {
    const Verdict verdict = ask(kThermostat, "10.20.0.12", "203.0.113.10", 6, 443);
    BOOST_TEST(verdict.allow);
    BOOST_TEST(verdict.service == "telemetry");
    BOOST_TEST(verdict.citation == "allowed by services.telemetry (policy.yaml:6) of acme-berlin version 42");
    BOOST_TEST(ask(kThermostat, "fd20::12", "2001:db8::10", 6, 8883).allow);
}

BOOST_AUTO_TEST_CASE(denies_other_protocols_ports_and_addresses) {
    for (const auto& [to, proto, port] : {std::tuple("203.0.113.10", 17, 443),
                                          {"203.0.113.10", 6, 442},
                                          {"203.0.113.10", 6, 444},
                                          {"203.0.113.11", 6, 443},
                                          {"203.0.113.10", 1, 0},
                                          {"192.0.2.123", 6, 123}}) {
        const Verdict verdict =
            ask(kThermostat, "10.20.0.12", to, static_cast<std::uint8_t>(proto), static_cast<std::uint16_t>(port));
        BOOST_TEST(!verdict.allow);
        BOOST_CHECK(verdict.reason == Reason::not_allowed);
        BOOST_TEST(
            verdict.citation.starts_with("denied: nothing that groups.thermostats (policy.yaml:9) allows reaches "));
    }
}

BOOST_AUTO_TEST_CASE(denies_unknown_devices_and_addresses_of_others) {
    const Verdict stranger = ask("02:00:00:00:00:99", "10.20.0.12", "203.0.113.10", 6, 443);
    BOOST_CHECK(stranger.reason == Reason::unknown_device && !stranger.allow);
    const Verdict spoofed = ask(kThermostat, "10.20.0.21", "203.0.113.10", 6, 443);
    BOOST_CHECK(spoofed.reason == Reason::spoofed_address && !spoofed.allow);
    BOOST_TEST(spoofed.device == "thermostat-12");
}

BOOST_AUTO_TEST_CASE(explains_by_the_devices_name) {
    const Policy policy = read_ok();
    const auto allowed = explain(policy, "camera-1", *IpAddress::parse("192.0.2.123"), Proto::udp, 123);
    BOOST_REQUIRE(allowed);
    BOOST_TEST(allowed->citation == "allowed by services.time (policy.yaml:7) of acme-berlin version 42");
    const auto no_v6 = explain(policy, "camera-1", *IpAddress::parse("2001:db8::10"), Proto::tcp, 443);
    BOOST_REQUIRE(no_v6);
    BOOST_TEST(!no_v6->allow);
    BOOST_TEST(no_v6->citation ==
               "denied: devices.camera-1 (policy.yaml:13) has no IPv6 address to send from; acme-berlin version 42");
    CHECK_REFUSED(explain(policy, "camera-2", *IpAddress::parse("192.0.2.123"), Proto::udp, 123),
                  "no device \"camera-2\"", "did you mean \"camera-1\"?");
}

BOOST_AUTO_TEST_SUITE_END()
