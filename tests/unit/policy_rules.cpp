// The rule book's language: every form of a service, a group and a device, read from YAML and back from the payload.
#include "policy/payload.hpp"
#include "policy/read_values.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::kYaml;
using penstock::test::read;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

const std::string kTime = "{ to: [192.0.2.123/32], ports: [udp/123] }";

std::string with_service(const std::string& service) { return replaced(kYaml, kTime, service); }
std::string with_group(const std::string& more) { return replaced(kYaml, "allow: [time]", "allow: [time], " + more); }
std::string with_device(const std::string& device) {
    return replaced(kYaml, "addresses: [10.20.0.21], group: cameras", device);
}

// What a reader made of it, after a way through the payload.
Policy there_and_back(const std::string& yaml) {
    const Policy policy = read_ok(yaml);
    const auto again = from_payload(to_payload(policy));
    BOOST_REQUIRE_MESSAGE(again, error_of(again));
    BOOST_REQUIRE(*again == policy);
    return policy;
}

} // namespace

BOOST_AUTO_TEST_SUITE(policy_rules)

BOOST_AUTO_TEST_CASE(ports_have_many_forms_and_one_spelling) {
    for (const auto& [text, same] : {std::pair("tcp/443", "tcp/443"),
                                     {"udp/5000-5100", "udp/5000-5100"},
                                     {"tcp", "tcp"},
                                     {"udp", "udp"},
                                     {"any", "any"},
                                     {"icmp", "icmp"},
                                     {"icmp/8", "icmp/echo-request"},
                                     {"icmp/echo-request", "icmp/echo-request"},
                                     {"icmp/42", "icmp/42"},
                                     {"icmpv6/packet-too-big", "icmpv6/packet-too-big"},
                                     {"icmpv6/255", "icmpv6/255"}}) {
        const auto ports = read_ports(text);
        BOOST_REQUIRE_MESSAGE(ports, text);
        BOOST_TEST(ports->str() == same);
        BOOST_CHECK(read_ports(ports->str()) == *ports);
    }
    for (const char* bad : {"any/1", "icmp/256", "icmp/nonsense", "icmp/", "icmpv6/echo", "sctp", "icmp/1-2", "tcp/"})
        BOOST_CHECK_MESSAGE(!read_ports(bad), bad);
}

BOOST_AUTO_TEST_CASE(a_service_goes_to_or_comes_from_prefixes_groups_and_devices) {
    const Policy policy = there_and_back(
        with_service("{ from: [10.50.0.0/24, \"group:thermostats\", \"device:camera-1\"], ports: [tcp/22] }"));
    const Service& service = policy.services[1];
    BOOST_CHECK(service.direction == Direction::from);
    BOOST_REQUIRE(service.peers.size() == 3U);
    BOOST_TEST(policy.str(service.peers[0]) == "10.50.0.0/24");
    BOOST_TEST(policy.str(service.peers[1]) == "group:thermostats");
    BOOST_TEST(policy.str(service.peers[2]) == "device:camera-1");
    CHECK_REFUSED(read(with_service("{ ports: [udp/123] }")), "policy.yaml:7: services.time: has neither \"to\"");
    CHECK_REFUSED(read(with_service("{ to: [192.0.2.1], from: [192.0.2.2], ports: [udp/123] }")),
                  "policy.yaml:7: services.time.from: a service has either `to` or `from`");
    CHECK_REFUSED(read(with_service("{ to: [\"group:camera\"], ports: [udp/123] }")),
                  "policy.yaml:7: services.time.to: the group \"camera\" is not defined; did you mean \"cameras\"?");
    CHECK_REFUSED(read(with_service("{ from: [\"device:camera-9\"], ports: [udp/123] }")),
                  "services.time.from: the device \"camera-9\" is not defined; did you mean \"camera-1\"?");
    CHECK_REFUSED(read(with_service("{ to: [\"group:cameras\", \"group:cameras\"], ports: [udp/123] }")),
                  "\"group:cameras\" is there twice");
    CHECK_REFUSED(read(with_service("{ to: [], ports: [udp/123] }")), "services.time.to: is empty");
}

BOOST_AUTO_TEST_CASE(require_fits_its_protocol) {
    BOOST_CHECK(
        there_and_back(with_service("{ to: [192.0.2.1], ports: [tcp/443], require: tls }")).services[1].require ==
        Require::tls);
    BOOST_CHECK(there_and_back(with_service("{ to: [192.0.2.1], ports: [udp], require: dtls }")).services[1].require ==
                Require::dtls);
    CHECK_REFUSED(read(with_service("{ to: [192.0.2.1], ports: [tcp/1, udp/2], require: tls }")),
                  "policy.yaml:7: services.time: require: tls is for tcp only, not udp/2");
    CHECK_REFUSED(read(with_service("{ to: [192.0.2.1], ports: [any], require: tls }")), "for tcp only, not any");
    CHECK_REFUSED(read(with_service("{ to: [192.0.2.1], ports: [tcp/1], require: dtls }")),
                  "dtls is for udp only, not tcp/1");
    CHECK_REFUSED(read(with_service("{ to: [192.0.2.1], ports: [tcp/1], require: ssl }")),
                  "services.time.require: \"ssl\" is neither tls (over tcp) nor dtls (over udp)");
}

BOOST_AUTO_TEST_CASE(a_group_denies_limits_and_keeps_hours) {
    const Policy policy = there_and_back(
        with_group("deny: [telemetry], rate: 1mbit, packet_rate: 1000, total_rate: 200kB, lan: { dhcp: on, dns: off }, "
                   "when: { days: mon-fri, hours: \"22:00-06:00\", zone: Europe/Berlin }"));
    const Group& group = policy.groups[0];
    BOOST_REQUIRE(group.deny.size() == 1U);
    BOOST_TEST(policy.services[group.deny[0]].name == "telemetry");
    BOOST_TEST(group.rate == 125'000U);
    BOOST_TEST(group.packet_rate == 1'000U);
    BOOST_TEST(group.total_rate == 200'000U);
    BOOST_REQUIRE(group.when.has_value());
    BOOST_TEST(group.when->days == 0x1f);
    BOOST_TEST(group.when->begin == 22 * 60);
    BOOST_TEST(group.when->end == 6 * 60);
    BOOST_TEST(group.when->zone == "Europe/Berlin");
    BOOST_CHECK(group.lan.dhcp == true && group.lan.dns == false && !group.lan.ntp);
    CHECK_REFUSED(read(with_group("deny: [time]")),
                  "policy.yaml:10: groups.cameras.deny: \"time\" is also in the group's allow");
    CHECK_REFUSED(read(with_group("deny: [tine]")),
                  "groups.cameras.deny: the service \"tine\" is not defined; did you mean \"time\"?");
    CHECK_REFUSED(read(with_group("when: { days: mon }")), "groups.cameras.when: the key \"zone\" is missing");
    CHECK_REFUSED(read(with_group("when: { zone: Europe/Berln }")),
                  "policy.yaml:10: groups.cameras.when.zone: \"Europe/Berln\" is not a time zone");
    CHECK_REFUSED(read(with_group("when: { hour: x, zone: Etc/UTC }")),
                  "unknown key \"hour\"; did you mean \"hours\"?");
    CHECK_REFUSED(read(with_group("when: { days: monday, zone: Etc/UTC }")),
                  "groups.cameras.when.days: \"monday\" are not days");
    CHECK_REFUSED(read(with_group("lan: { dns: maybe }")), "groups.cameras.lan.dns: is either on or off");
    CHECK_REFUSED(read(with_group("packet_rate: 0")),
                  "groups.cameras.packet_rate: packets a second are a number from 1");
}

BOOST_AUTO_TEST_CASE(rates_have_units_and_bounds) {
    for (const auto& [text, bytes] : {std::pair("1mbit", 125'000U),
                                      {"64kbit", 8'000U},
                                      {"200kB", 200'000U},
                                      {"1MB", 1'000'000U},
                                      {"1234B", 1'234U},
                                      {"1gbit", 125'000'000U}}) {
        const auto rate = read_byte_rate(text);
        BOOST_REQUIRE_MESSAGE(rate, text);
        BOOST_TEST(*rate == bytes);
        BOOST_CHECK(read_byte_rate(byte_rate_text(*rate)) == *rate);
    }
    for (const char* bad : {"", "1", "mbit", "1 mbit", "1Mbit", "-1mbit", "1.5mbit", "01mbit", "1mbits"})
        CHECK_REFUSED(read_byte_rate(bad), "is not a rate");
    CHECK_REFUSED(read_byte_rate("7kbit"), "limit min_rate");
    CHECK_REFUSED(read_byte_rate("8001gbit"), "limit max_rate");
    CHECK_REFUSED(read_byte_rate("18446744073709551615GB"), "limit max_rate");
}

BOOST_AUTO_TEST_CASE(a_device_has_groups_learns_and_stays_on_its_lan) {
    const Policy policy =
        there_and_back(with_device("addresses: learn, groups: [thermostats, cameras], interface: lan0"));
    const Device& device = *policy.find_device("camera-1");
    BOOST_TEST(device.learns());
    BOOST_TEST(device.groups.size() == 2U);
    BOOST_TEST(device.interface == "lan0");
    CHECK_REFUSED(read(with_device("addresses: [10.20.0.21], groups: []")), "devices.camera-1.groups: is empty");
    CHECK_REFUSED(read(with_device("addresses: [10.20.0.21]")),
                  "policy.yaml:13: devices.camera-1: has neither \"group\" nor \"groups\"");
    CHECK_REFUSED(read(with_device("addresses: [10.20.0.21], group: cameras, groups: [cameras]")),
                  "devices.camera-1.groups: a device has either `group` or `groups`");
    CHECK_REFUSED(read(with_device("addresses: [10.20.0.21], group: [cameras]")), "write groups: [...] for several");
    CHECK_REFUSED(read(with_device("addresses: [10.20.0.21], groups: [cameras, cameras]")), "is there twice");
    CHECK_REFUSED(read(with_device("addresses: learnt, group: cameras")),
                  "devices.camera-1.addresses: expected a list");
    CHECK_REFUSED(read(with_device("addresses: [learn], group: cameras")),
                  "are learnt or listed, not both; to have them learnt, write addresses: learn");
    CHECK_REFUSED(read(with_device("group: cameras")), "has no addresses; list them, or write addresses: learn");
    CHECK_REFUSED(read(with_device("addresses: [10.20.0.21], group: cameras, interface: \"a/b\"")),
                  "devices.camera-1.interface: \"a/b\" is not an interface's name");
}

BOOST_AUTO_TEST_CASE(the_lan_is_said_once) {
    const Policy policy = there_and_back(kYaml + "lan: { ntp: on, arp_nd: true }\n");
    BOOST_CHECK(policy.lan.ntp == true && policy.lan.arp_nd == true && !policy.lan.dhcp);
    CHECK_REFUSED(read_yaml({{"a.yaml", kYaml + "lan: { ntp: on }\n"}, {"b.yaml", "lan: { ntp: off }\n"}}),
                  "b.yaml:1: lan: contradicts a.yaml:14");
    CHECK_REFUSED(read(kYaml + "lan: { ssh: on }\n"),
                  "policy.yaml:14: lan: unknown key \"ssh\"; known: arp_nd, dhcp, dns, ntp");
}

BOOST_AUTO_TEST_SUITE_END()
