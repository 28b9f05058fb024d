// policy/diff: what each device gains and loses, in words.
#include "policy/diff.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

std::string words(const std::string& before, const std::string& after) {
    return in_words(compare(read_ok(before), read_ok(after)));
}
std::string words_of_edit(std::string_view from, std::string_view to) {
    return words(kYaml, replaced(kYaml, from, to));
}

} // namespace

BOOST_AUTO_TEST_SUITE(policy_diff)

BOOST_AUTO_TEST_CASE(equal_policies_do_not_differ) {
    BOOST_TEST(words(kYaml, kYaml) == "no difference");
    // Neither do names of services and groups make a difference.
    BOOST_TEST(words(kYaml, replaced(replaced(kYaml, "cameras:  ", "eyes:  "), "group: cameras", "group: eyes")) ==
               "no difference");
}

BOOST_AUTO_TEST_CASE(a_right_that_a_deny_takes_back_is_not_told_as_one) {
    const auto wide = replaced(kYaml, "groups:\n", "  wide: { to: [192.0.2.0/24], ports: [udp] }\ngroups:\n");
    const auto cameras = [&](const char* rights) { return replaced(wide, "{ allow: [time] }", rights); };
    const auto allowed = cameras("{ allow: [time] }"), denied = cameras("{ allow: [time], deny: [wide] }");
    BOOST_TEST(words(allowed, denied) == "camera-1:\n"
                                         "  - must not reach 192.0.2.0/24 at udp");
    BOOST_TEST(words(cameras("{ allow: [], deny: [wide] }"), denied) == "no difference");
    BOOST_TEST(words(denied, allowed) == "camera-1:\n"
                                         "  + is no longer denied: reach 192.0.2.0/24 at udp");
}

BOOST_AUTO_TEST_CASE(says_from_when_on) {
    BOOST_TEST(words_of_edit("expires:", "not_before: 2026-06-01T12:00:00Z\nexpires:") ==
               "validity from at once becomes 2026-06-01T12:00:00Z");
}

BOOST_AUTO_TEST_CASE(says_what_is_gained_and_lost) {
    BOOST_TEST(words_of_edit("udp/123]", "udp/124]") == "camera-1, thermostat-12:\n"
                                                        "  + may reach 192.0.2.123/32 at udp/124\n"
                                                        "  - may no longer reach 192.0.2.123/32 at udp/123");
    BOOST_TEST(words_of_edit("allow: [time]", "allow: [time], deny: [telemetry]") ==
               "camera-1:\n"
               "  - must not reach 2001:db8::10/128 at tcp/443\n"
               "  - must not reach 2001:db8::10/128 at tcp/8883\n"
               "  - must not reach 203.0.113.10/32 at tcp/443\n"
               "  - must not reach 203.0.113.10/32 at tcp/8883");
    BOOST_TEST(words(replaced(kYaml, "allow: [time]", "allow: [], deny: [time]"),
                     replaced(kYaml, "allow: [time]", "allow: []")) ==
               "camera-1:\n  + is no longer denied: reach 192.0.2.123/32 at udp/123");
}

BOOST_AUTO_TEST_CASE(what_another_right_covers_is_neither_gained_nor_lost) {
    BOOST_TEST(words_of_edit("ports: [udp/123]", "ports: [udp/123, udp/100-200]") ==
               "camera-1, thermostat-12:\n  + may reach 192.0.2.123/32 at udp/100-200");
    BOOST_TEST(words(replaced(kYaml, "ports: [udp/123]", "ports: [udp/123, udp/100-200]"),
                     replaced(kYaml, "ports: [udp/123]", "ports: [udp/100-200]")) == "no difference");
    // A half of what was: the whole is lost, the half is said.
    BOOST_TEST(
        words(replaced(kYaml, "192.0.2.123/32", "192.0.2.0/24"), replaced(kYaml, "192.0.2.123/32", "192.0.2.0/25")) ==
        "camera-1, thermostat-12:\n"
        "  + may reach 192.0.2.0/25 at udp/123\n"
        "  - may no longer reach 192.0.2.0/24 at udp/123");
}

BOOST_AUTO_TEST_CASE(conditions_make_a_difference) {
    BOOST_TEST(words_of_edit("allow: [time]",
                             "allow: [time], when: { days: mon-fri, hours: \"06:00-20:00\", zone: Europe/Berlin }") ==
               "camera-1:\n"
               "  + may reach 192.0.2.123/32 at udp/123, mon-fri 06:00-20:00 Europe/Berlin\n"
               "  - may no longer reach 192.0.2.123/32 at udp/123");
    BOOST_TEST(words_of_edit("ports: [tcp/443, tcp/8883] }", "ports: [tcp/443, tcp/8883], require: tls }")
                   .find("+ may reach 203.0.113.10/32 at tcp/443, with TLS only") != std::string::npos);
    BOOST_TEST(words_of_edit("allow: [time]", "allow: [time], rate: 1mbit, packet_rate: 9, lan: { dns: on }") ==
               "camera-1:\n"
               "  + may use DNS of the gateway\n"
               "  ~ rate unlimited becomes 1mbit\n"
               "  ~ packet rate unlimited becomes 9");
}

BOOST_AUTO_TEST_CASE(names_new_gone_and_changed_devices_and_the_header) {
    BOOST_TEST(words_of_edit("name: camera-1", "name: camera-2") ==
               "new: camera-2\n"
               "gone, and lose everything: camera-1\n"
               "camera-2:\n  + may reach 192.0.2.123/32 at udp/123");
    BOOST_TEST(words_of_edit("[10.20.0.21]", "[10.20.0.22], interface: lan1") ==
               "camera-1:\n  ~ addresses 10.20.0.21 become 10.20.0.22\n  ~ any LAN becomes lan1");
    BOOST_TEST(words_of_edit("version: 42", "version: 43") == "version 42 becomes 43");
}

BOOST_AUTO_TEST_CASE(a_group_that_others_name_changes_with_its_members) {
    const std::string named = replaced(kYaml, "192.0.2.123/32", "\"group:cameras\"");
    BOOST_TEST(words(named, replaced(named, "group: thermostats", "groups: [cameras, thermostats]")) ==
               "group:cameras now means also thermostat-12");
}

BOOST_AUTO_TEST_CASE(devices_that_change_alike_are_said_once_and_cut_short) {
    std::string many = kYaml;
    for (int i = 0; i < 8; i++)
        many += "  - { name: x" + std::to_string(i) + ", mac: \"02:00:00:00:01:0" + std::to_string(i) +
                "\", addresses: [10.20.1." + std::to_string(i) + "], group: cameras }\n";
    BOOST_TEST(words(many, replaced(many, "allow: [time]", "allow: []")) ==
               "camera-1, x0, x1, x2, x3 and 4 more:\n  - may no longer reach 192.0.2.123/32 at udp/123");
}

BOOST_AUTO_TEST_SUITE_END()
