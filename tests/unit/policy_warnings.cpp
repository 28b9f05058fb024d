// policy/warnings: what a policy says in vain, each with the line.
#include "policy/warnings.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

std::string warned(const std::string& yaml) {
    std::string out;
    for (const auto& warning : warnings(read_ok(yaml), *parse_time("2026-11-22T00:00:00Z")))
        out += warning + "\n";
    return out;
}
std::string warned_after(std::string_view from, std::string_view to) { return warned(replaced(kYaml, from, to)); }

} // namespace

BOOST_AUTO_TEST_SUITE(policy_warnings)

BOOST_AUTO_TEST_CASE(a_good_policy_has_none) { BOOST_TEST(warned(kYaml) == ""); }

BOOST_AUTO_TEST_CASE(names_what_nobody_uses) {
    BOOST_TEST(warned_after("allow: [telemetry, time]", "allow: [time]") ==
               "policy.yaml:6: services.telemetry: no group allows or denies it\n");
    BOOST_TEST(warned_after("group: cameras", "group: thermostats") ==
               "policy.yaml:10: groups.cameras: no device is in it\n");
    BOOST_TEST(warned(replaced(replaced(kYaml, "group: cameras", "group: thermostats"), "192.0.2.123/32",
                               "\"group:cameras\"")) == "policy.yaml:7: services.time: group:cameras means nobody\n"
                                                        "policy.yaml:10: groups.cameras: no device is in it\n");
}

BOOST_AUTO_TEST_CASE(names_what_is_always_denied) {
    // The camera's only group allows it and its other group denies it; thermostats are in the first one alone.
    const auto denied = replaced(kYaml, "  cameras:     { allow: [time] }",
                                 "  cameras:     { allow: [time] }\n  quiet: { allow: [], deny: [time] }");
    BOOST_TEST(
        warned(replaced(denied, "group: cameras", "groups: [cameras, quiet]")) ==
        "policy.yaml:10: groups.cameras: allowing time has no effect: all of it is denied, here or by another group "
        "of its devices\n");
    // A deny that is in force at times only leaves something.
    BOOST_TEST(warned(replaced(replaced(denied, "group: cameras", "groups: [cameras, quiet]"), "deny: [time] }",
                               "deny: [time], when: { days: sun, zone: Etc/UTC } }")) == "");
}

BOOST_AUTO_TEST_CASE(names_a_require_that_another_service_undoes) {
    BOOST_TEST(
        warned(replaced(replaced(kYaml, "ports: [tcp/443, tcp/8883] }", "ports: [tcp/443, tcp/8883], require: tls }"),
                        "{ to: [192.0.2.123/32], ports: [udp/123] }",
                        "{ to: [203.0.113.0/24, \"2001:db8::/64\"], ports: [any] }")) ==
        "policy.yaml:9: groups.thermostats: services.telemetry requires tls in vain: another service allows the same "
        "without\n");
}

BOOST_AUTO_TEST_CASE(names_what_can_never_match) {
    BOOST_TEST(warned_after("udp/123]", "udp/123, icmpv6]") ==
               "policy.yaml:7: services.time: icmpv6 can never match: no prefix is IPv6\n");
    BOOST_TEST(warned_after("192.0.2.123/32", "192.0.2.123/32, 10.20.0.0/24") ==
               "policy.yaml:7: services.time: 10.20.0.0/24 holds devices.camera-1, but a prefix never means a device; "
               "write device: or group:\n");
    BOOST_TEST(warned_after("2027-01-01", "2026-01-01") ==
               "expires: 2026-01-01T00:00:00Z is over; no gateway will take this\n");
}

BOOST_AUTO_TEST_SUITE_END()
