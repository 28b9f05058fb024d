// policy/oracle: verdicts, their reasons, and citations that a person can follow.
#include "policy/oracle.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

Verdict ask(const char* mac, const char* source, const char* destination, std::uint8_t proto, std::uint16_t port) {
    return judge(read_ok(), now(),
                 {.mac = *MacAddress::parse(mac),
                  .source = *IpAddress::parse(source),
                  .destination = *IpAddress::parse(destination),
                  .proto = proto,
                  .destination_port = port});
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
    const auto ask_about = [&](const char* device, const char* to, const char* proto, std::uint16_t port) {
        return explain(policy, now(), *read_question(device, to, "", proto, port));
    };
    const auto allowed = ask_about("camera-1", "192.0.2.123", "udp", 123);
    BOOST_REQUIRE(allowed);
    BOOST_TEST(allowed->citation == "allowed by services.time (policy.yaml:7) of acme-berlin version 42");
    const auto no_v6 = ask_about("camera-1", "2001:db8::10", "tcp", 443);
    BOOST_REQUIRE(no_v6);
    BOOST_TEST(!no_v6->allow);
    BOOST_TEST(no_v6->citation ==
               "denied: devices.camera-1 (policy.yaml:13) has no IPv6 address; acme-berlin version 42");
    const Policy learning = read_ok(replaced(kYaml, "[10.20.0.21]", "learn"));
    const auto learnt = explain(learning, now(), *read_question("camera-1", "192.0.2.123", "", "udp", 123));
    BOOST_REQUIRE(learnt);
    BOOST_TEST(learnt->allow);
    BOOST_TEST(
        learnt->citation ==
        "allowed by services.time (policy.yaml:7) of acme-berlin version 42; once it has learnt an IPv4 address");
    BOOST_TEST(!explain(learning, now(), *read_question("camera-1", "192.0.2.123", "", "udp", 124))->allow);
    CHECK_REFUSED(ask_about("camera-2", "192.0.2.123", "udp", 123), "no device \"camera-2\"",
                  "did you mean \"camera-1\"?");
}

BOOST_AUTO_TEST_CASE(explains_who_may_reach_a_device) {
    const Policy policy = read_ok(
        replaced(replaced(kYaml, "{ to: [192.0.2.123/32], ports: [udp/123] }",
                          "{ from: [10.50.0.0/24, \"group:thermostats\"], ports: [tcp/22, icmp/echo-request] }"),
                 "allow: [telemetry, time]", "allow: [telemetry]"));
    const auto ask_from = [&](const char* from, const char* proto, std::uint16_t port) {
        return *explain(policy, now(), *read_question("camera-1", "", from, proto, port));
    };
    BOOST_TEST(ask_from("10.50.0.9", "tcp", 22).citation ==
               "allowed by services.time (policy.yaml:7) of acme-berlin version 42");
    BOOST_TEST(!ask_from("10.50.0.9", "tcp", 22).on_lan);
    BOOST_TEST(ask_from("10.50.0.9", "icmp", 0).allow);
    BOOST_TEST(ask_from("10.50.1.9", "tcp", 22).citation ==
               "denied: nothing that groups.cameras (policy.yaml:10) allows lets 10.50.1.9 reach it at tcp/22; "
               "acme-berlin version 42");
    const auto thermostat = ask_from("10.20.0.12", "tcp", 22);
    BOOST_TEST(thermostat.allow);
    BOOST_TEST(thermostat.on_lan);
}

BOOST_AUTO_TEST_CASE(a_deny_is_cited_and_wins) {
    const Policy policy = read_ok(replaced(replaced(kYaml, "allow: [time]", "allow: [], deny: [time]"),
                                           "group: thermostats", "groups: [thermostats, cameras]"));
    const auto verdict = *explain(policy, now(), *read_question("thermostat-12", "192.0.2.123", "", "udp", 123));
    BOOST_CHECK(verdict.reason == Reason::denied);
    BOOST_TEST(verdict.citation == "denied: by services.time (policy.yaml:7) of acme-berlin version 42");
}

BOOST_AUTO_TEST_CASE(out_of_hours_the_hours_are_named) {
    const Policy policy = read_ok(replaced(
        kYaml, "cameras:     { allow: [time] }",
        "cameras:     { allow: [time], when: { days: mon-fri, hours: \"06:00-20:00\", zone: Europe/Berlin } }"));
    const auto question = *read_question("camera-1", "192.0.2.123", "", "udp", 123);
    BOOST_TEST(explain(policy, *parse_time("2026-06-01T10:00:00Z"), question)->allow);
    const auto verdict = *explain(policy, *parse_time("2026-06-07T10:00:00Z"), question); // a Sunday
    BOOST_CHECK(verdict.reason == Reason::not_allowed && !verdict.allow);
    BOOST_TEST(verdict.citation == "denied: now; services.time (policy.yaml:7) of acme-berlin version 42 is allowed by "
                                   "groups.cameras (policy.yaml:10) only mon-fri 06:00-20:00 Europe/Berlin");
}

BOOST_AUTO_TEST_CASE(questions_that_make_no_sense_are_refused) {
    CHECK_REFUSED(read_question("d", "", "", "tcp", 1), "either where the device sends to");
    CHECK_REFUSED(read_question("d", "10.0.0.1", "10.0.0.2", "tcp", 1), "either where the device sends to");
    CHECK_REFUSED(read_question("d", "10.0.0.1", "", "tcp", 0), "tcp needs a port: --port, 1 to 65535");
    CHECK_REFUSED(read_question("d", "10.0.0.1", "", "icmpv6", 0), "icmpv6 is not a protocol of 10.0.0.1's family");
    CHECK_REFUSED(read_question("d", "10.0.0.1", "", "icmp", 256), "at most 255");
    CHECK_REFUSED(read_question("d", "10.0.0.1", "", "any", 1), "the protocol must be tcp, udp, icmp or icmpv6");
}

BOOST_AUTO_TEST_SUITE_END()
