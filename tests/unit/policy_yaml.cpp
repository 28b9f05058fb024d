// policy/yaml: what an author may write, and each refusal with its file, line and mend.
#include "policy/payload.hpp"
#include "policy/warnings.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <filesystem>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::kYaml;
using penstock::test::read;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

std::string edit(std::string_view from, std::string_view to) { return replaced(kYaml, from, to); }

} // namespace

BOOST_AUTO_TEST_SUITE(policy_yaml)

BOOST_AUTO_TEST_CASE(reads_a_policy_with_the_lines_it_came_from) {
    const Policy policy = read_ok();
    BOOST_TEST(policy.title() == "acme-berlin version 42");
    BOOST_TEST(format_time(policy.expires) == "2027-01-01T00:00:00Z");
    BOOST_TEST(!policy.not_before.has_value());
    BOOST_TEST(policy.is_for_gateway("gw-1"));
    BOOST_TEST(!policy.is_for_gateway("other"));
    BOOST_REQUIRE(policy.services.size() == 2U);
    BOOST_TEST(policy.services[0].name == "telemetry");
    BOOST_TEST(policy.services[0].peers.size() == 2U);
    BOOST_TEST(policy.services[0].ports[1].str() == "tcp/8883");
    BOOST_TEST(policy.cite(policy.services[0].at) == "policy.yaml:6");
    BOOST_TEST(policy.cite(policy.groups[0].at) == "policy.yaml:10");
    const Device* device = policy.find_device("thermostat-12");
    BOOST_REQUIRE(device);
    BOOST_TEST(policy.cite(device->at) == "policy.yaml:12");
    BOOST_TEST(device->mac.str() == "02:00:00:00:00:12");
    BOOST_TEST(device->addresses.size() == 2U);
    BOOST_TEST(policy.groups[device->groups.front()].name == "thermostats");
    BOOST_TEST(policy.find_device("nobody") == nullptr);
}

BOOST_AUTO_TEST_CASE(every_example_is_good_and_says_nothing_in_vain) {
    std::size_t examples = 0;
    for (const auto& entry : std::filesystem::directory_iterator(PENSTOCK_SOURCE_DIR "/policy/examples")) {
        examples++;
        const auto policy = load_yaml({entry.path().string()});
        BOOST_REQUIRE_MESSAGE(policy, error_of(policy));
        for (const auto& warning : warnings(*policy, *parse_time("2026-11-22T00:00:00Z")))
            BOOST_ERROR(warning);
    }
    BOOST_TEST(examples >= 3U);
}

BOOST_AUTO_TEST_CASE(joins_several_files_of_one_fleet) {
    const auto at = kYaml.find("devices:");
    const auto policy = read_yaml(
        {{"a/base.yaml", kYaml.substr(0, at)}, {"b/devices.yaml", "fleet: acme-berlin\n" + kYaml.substr(at)}});
    BOOST_REQUIRE_MESSAGE(policy, error_of(policy));
    BOOST_TEST(policy->cite(policy->find_device("camera-1")->at) == "devices.yaml:4");
    CHECK_REFUSED(read_yaml({{"a.yaml", kYaml}, {"b.yaml", "fleet: other\n"}}),
                  "b.yaml:1: fleet: contradicts a.yaml:1");
    CHECK_REFUSED(read_yaml({{"a.yaml", kYaml}, {"b.yaml", "\nversion: 43\n"}}),
                  "b.yaml:2: version: contradicts a.yaml:2");
    CHECK_REFUSED(
        read_yaml({{"a.yaml", kYaml}, {"b.yaml", "services:\n  time: { to: [192.0.2.1], ports: [udp/1] }\n"}}),
        "b.yaml:2: services.time is defined twice (first at a.yaml:7); keep one");
}

BOOST_AUTO_TEST_CASE(refuses_unknown_keys_with_a_hint) {
    CHECK_REFUSED(
        read(edit("udp/123] }", "udp/123], prots: [] }")),
        "policy.yaml:7: services.time: unknown key \"prots\"; did you mean \"ports\"? (known: to, from, ports, require)");
    CHECK_REFUSED(read("fleeet: x\n"), "policy.yaml:1: unknown key \"fleeet\"; did you mean \"fleet\"?");
    CHECK_REFUSED(read(edit("name: camera-1,", "name: camera-1, colour: red,")),
                  "policy.yaml:13: devices.camera-1: unknown key");
    CHECK_REFUSED(read(edit("udp/123] }", "udp/123], at: [0, 1] }")), "unknown key \"at\"");
    CHECK_REFUSED(read(kYaml + "files: [x]\n"), "unknown key \"files\"");
}

BOOST_AUTO_TEST_CASE(refuses_features_of_later_versions_by_name) {
    const std::string later = "is not supported by this version of penstock; ";
    CHECK_REFUSED(read(edit("allow: [time]", "allow: [time], mud: x")), ("groups.cameras.mud " + later).c_str());
    CHECK_REFUSED(read(edit("192.0.2.123/32", "pool.ntp.org")),
                  "policy.yaml:7: services.time.to[0]: the DNS name \"pool.ntp.org\"", later.c_str());
}

BOOST_AUTO_TEST_CASE(refuses_dangling_names) {
    CHECK_REFUSED(read(edit("allow: [time]", "allow: [tine]")),
                  "policy.yaml:10: groups.cameras.allow: the service \"tine\" is not defined; did you mean \"time\"?");
    CHECK_REFUSED(
        read(edit("group: cameras", "group: camera")),
        "policy.yaml:13: devices.camera-1.group: the group \"camera\" is not defined; did you mean \"cameras\"?");
}

BOOST_AUTO_TEST_CASE(refuses_duplicates) {
    CHECK_REFUSED(read(edit("name: camera-1", "name: thermostat-12")),
                  "policy.yaml:13: devices.thermostat-12 is defined twice (first at policy.yaml:12)");
    CHECK_REFUSED(
        read(edit("00:00:21", "00:00:12")),
        "policy.yaml:13: devices.camera-1: the MAC 02:00:00:00:00:12 belongs to devices.thermostat-12 already");
    CHECK_REFUSED(
        read(edit("[10.20.0.21]", "[\"FD20:0::12\"]")),
        "policy.yaml:13: devices.camera-1: the address fd20::12 belongs to devices.thermostat-12 already (first at policy.yaml:12)");
    CHECK_REFUSED(read(edit("10.20.0.21]", "10.20.0.21, 10.20.0.21]")), "\"10.20.0.21\" is there twice");
    CHECK_REFUSED(read(edit("udp/123]", "udp/123, udp/123]")), "services.time.ports[1]: \"udp/123\" is there twice");
    CHECK_REFUSED(read(edit("allow: [time]", "allow: [time, time]")),
                  "groups.cameras.allow[1]: \"time\" is there twice");
    CHECK_REFUSED(read(edit("  cameras:     { allow: [time] }", "  thermostats: { allow: [time] }")),
                  "the key \"thermostats\" is there twice (lines 9, 10); keep one");
}

BOOST_AUTO_TEST_CASE(refuses_an_address_that_is_both_device_and_service) {
    CHECK_REFUSED(read(edit("192.0.2.123/32", "10.20.0.21/32")),
                  "policy.yaml:13: devices.camera-1: the address 10.20.0.21 is also where services.time is reached");
    BOOST_TEST(error_of(read(edit("192.0.2.123/32", "10.20.0.22/32"))).find("also where") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(refuses_wrong_types) {
    CHECK_REFUSED(read(edit("version: 42", "version: \"42\"")),
                  "policy.yaml:2: version: expected a number such as 42, found a text");
    CHECK_REFUSED(read(edit("version: 42", "version: -1")), "policy.yaml:2: version");
    CHECK_REFUSED(read(edit("version: 42", "version: 042")), "policy.yaml:2: version");
    CHECK_REFUSED(read(edit("version: 42", "version: 0")), "policy.yaml:2: version: a version is a number from 1");
    CHECK_REFUSED(read(edit("version: 42", "version: 9007199254740992")), "limit version");
    CHECK_REFUSED(read(edit("name: camera-1", "name: 12")), "expected a text", "put it in double quotes");
    CHECK_REFUSED(read(edit("fleet: acme-berlin", "fleet: true")), "found \"true\"");
    CHECK_REFUSED(read(edit("[\"gw-*\"]", "gw-1")), "policy.yaml:4: gateways: expected a list");
    CHECK_REFUSED(read(edit("[\"gw-*\"]", "[]")), "policy.yaml:4: gateways: is empty");
    CHECK_REFUSED(read(edit("{ allow: [time] }", "[time]")), "policy.yaml:10: groups.cameras: expected a map");
    CHECK_REFUSED(read(edit("2027-01-01T00:00:00Z", "2027-01-01")),
                  "policy.yaml:3: expires: \"2027-01-01\" is not a time in UTC");
    CHECK_REFUSED(read(edit("expires:", "not_before: tomorrow\nexpires:")), "policy.yaml:3: not_before: \"tomorrow\"");
    CHECK_REFUSED(read(edit("expires:", "not_before: 2027-01-01T00:00:00Z\nexpires:")),
                  "policy.yaml:3: not_before: 2027-01-01T00:00:00Z is not before it expires");
}

BOOST_AUTO_TEST_CASE(not_before_goes_into_the_payload_and_back) {
    const auto policy = read(edit("expires:", "not_before: 2026-06-01T12:00:00Z\nexpires:"));
    BOOST_REQUIRE(policy);
    const auto again = from_payload(to_payload(*policy));
    BOOST_REQUIRE(again);
    BOOST_TEST((*again == *policy));
    BOOST_TEST(format_time(*again->not_before) == "2026-06-01T12:00:00Z");
}

BOOST_AUTO_TEST_CASE(a_tab_is_named) {
    CHECK_REFUSED(read(edit("  telemetry:", "\ttelemetry:")),
                  "policy.yaml:6: is not YAML: ", "indented with a tab; YAML wants spaces");
}

BOOST_AUTO_TEST_CASE(refuses_missing_keys) {
    CHECK_REFUSED(read(edit("version: 42\n", "")),
                  "policy.yaml:1: the key \"version\" is missing; add a line such as version: 1");
    CHECK_REFUSED(read(edit("gateways: [\"gw-*\"]\n", "")), "the key \"gateways\" is missing");
    CHECK_REFUSED(read(edit(", ports: [udp/123]", "")), "policy.yaml:7: services.time: the key \"ports\" is missing");
    CHECK_REFUSED(read(edit("mac: \"02:00:00:00:00:21\", ", "")),
                  "policy.yaml:13: devices.camera-1: the key \"mac\" is missing");
    CHECK_REFUSED(read_yaml({}), "no policy file is given");
}

BOOST_AUTO_TEST_CASE(refuses_values_that_are_no_prefix_port_address_or_mac) {
    for (const char* bad : {"192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/024", "300.1.1.1", "\"::ffff:1.2.3.4\"",
                            "\"::/0\"", "\"::/80\"", "\"a b\"", "\"\""})
        CHECK_REFUSED(read(edit("192.0.2.123/32", bad)), "policy.yaml:7: services.time.to[0]: ");
    for (const char* bad : {"udp/", "udp/0", "udp/65536", "udp/20-10", "udp/1-", "udp/*", "sctp/5", "udp/0123", "UDP/1",
                            "udp/1-2-3", "udp/+1"})
        CHECK_REFUSED(read(edit("udp/123", bad)), "policy.yaml:7: services.time.ports[0]: ");
    for (const char* bad : {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "\"::\"", "\"::1\"", "\"ff02::1\"",
                            "\"::ffff:10.0.0.1\"", "10.0.0.1/32"})
        CHECK_REFUSED(read(edit("10.20.0.21", bad)), "policy.yaml:13: devices.camera-1.addresses[0]: ");
    for (const char* bad :
         {"02:00:00:00:00", "ff:ff:ff:ff:ff:ff", " 2:00:00:00:00:21", "-2:00:00:00:00:21", "0x:00:00:00:00:21"})
        CHECK_REFUSED(read(edit("02:00:00:00:00:21", bad)), "policy.yaml:13: devices.camera-1.mac: ");
    CHECK_REFUSED(read(edit("camera-1", "\"camera 1\"")), "policy.yaml:13: devices[1].name: a name is");
}

BOOST_AUTO_TEST_CASE(refuses_yaml_that_could_surprise) {
    CHECK_REFUSED(read(edit("[telemetry, time]", "&a [telemetry, time]")), "policy.yaml:9: an anchor");
    CHECK_REFUSED(read(edit("[telemetry, time]", "*a")), "policy.yaml:9: ");
    CHECK_REFUSED(read(edit("[time]", "!!seq [time]")), "policy.yaml:10: the tag");
    CHECK_REFUSED(read(kYaml + "---\nfleet: x\n"), "more than one YAML document");
    CHECK_REFUSED(read(""), "is empty");
    CHECK_REFUSED(read("fleet: [\n"), "policy.yaml:", "is not YAML");
    CHECK_REFUSED(read("? [a]\n: b\n"), "policy.yaml:1: a key must be a plain name");
    CHECK_REFUSED(read(std::string("fleet: a\0b\n", 11)), "NUL");
    CHECK_REFUSED(read("fleet: " + std::string(100'000, '[')), "policy.yaml:1:");
}

BOOST_AUTO_TEST_CASE(refuses_more_rules_than_a_device_may_have_by_the_limits_name) {
    // 3 prefixes x 22 ports = 66; with 21 ports it fits beside nothing else.
    const auto service = [](int ports) {
        std::string text = "{ to: [192.0.2.1, 192.0.2.2, 192.0.2.3], ports: [udp/1";
        for (int i = 1; i < ports; i++)
            text += ", udp/" + std::to_string(1 + 2 * i);
        return text + "] }";
    };
    const std::string line = "{ to: [192.0.2.123/32], ports: [udp/123] }";
    const std::string alone = edit("allow: [telemetry, time]", "allow: [time]");
    BOOST_CHECK_MESSAGE(read(replaced(alone, line, service(21))), "63 rules fit");
    CHECK_REFUSED(read(replaced(alone, line, service(22))),
                  "policy.yaml:13: devices.camera-1: its groups compile to 66 rules", "limit rules_per_device (64)");
}

BOOST_AUTO_TEST_CASE(refuses_more_entries_than_a_limit) {
    std::string addresses = "10.20.0.21";
    for (int i = 1; i < 8; i++)
        addresses += ", 10.20.1." + std::to_string(i);
    BOOST_CHECK(read(edit("10.20.0.21", addresses)));
    CHECK_REFUSED(read(edit("10.20.0.21", addresses + ", 10.20.2.1")),
                  "9 entries are more than the limit addresses_per_device (8)");

    std::string services = "services:\n";
    for (int i = 0; i < 4'097; i++)
        services += "  s" + std::to_string(i) + ": { to: [192.0.2.1], ports: [udp/1] }\n";
    CHECK_REFUSED(read(services), "policy.yaml:1: services: more entries than the limit services (4096)");
}

BOOST_AUTO_TEST_SUITE_END()
