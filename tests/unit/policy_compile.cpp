// policy/compile: fixed order, shared blocks, and the same verdicts as the oracle for random policies and packets.
#include "policy/compile.hpp"
#include "policy/oracle.hpp"
#include "policy/payload.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <sys/socket.h>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

using Random = std::mt19937;

const Time kNow = *parse_time("2026-11-20T12:00:00Z"); // a Friday

CompiledPolicy compiled_at_noon(const Policy& policy) { return compile(policy, kNow); }

unsigned below(Random& random, unsigned end) { return static_cast<unsigned>(random() % end); }

std::string bits(const std::array<std::uint8_t, 16>& bytes) {
    std::string out;
    for (const auto byte : bytes)
        for (int i = 7; i >= 0; i--)
            out += (byte >> i & 1) != 0 ? '1' : '0';
    return out;
}

// What the datapath does, written down in the slowest way. The other end: nullptr if it lies behind a tunnel.
bool matches(const Rule& rule, Direction direction, const IpAddress& address, const CompiledDevice* peer,
             const CompiledPolicy& compiled, const Packet& packet) {
    bool named = false;
    if (rule.peer == Peer::Kind::prefix)
        named = peer == nullptr && bits(rule.address).substr(0, rule.prefix_length) ==
                                       bits(address.mapped()).substr(0, rule.prefix_length);
    else if (peer != nullptr && rule.peer == Peer::Kind::group)
        named = std::ranges::find(peer->groups, rule.index) != peer->groups.end();
    else if (peer != nullptr)
        named = &compiled.devices[rule.index] == peer;
    const bool v4 = packet.source.family == AF_INET;
    const bool known = packet.proto == 6 || packet.proto == 17 || packet.proto == (v4 ? 1 : 58);
    return named && known && rule.direction == direction &&
           (rule.proto == Proto::any ||
            (static_cast<std::uint8_t>(rule.proto) == packet.proto && packet.destination_port >= rule.port_lo &&
             packet.destination_port <= rule.port_hi));
}

const CompiledDevice* owner(const CompiledPolicy& compiled, const IpAddress& address) {
    for (const auto& device : compiled.devices)
        if (std::ranges::find(device.addresses, address) != device.addresses.end())
            return &device;
    return nullptr;
}

struct Answer {
    Reason reason;
    Require require = Require::none;
};

Answer judge_compiled(const CompiledPolicy& compiled, const Packet& packet) {
    const CompiledDevice* target = owner(compiled, packet.destination);
    const CompiledDevice* sender = nullptr;
    std::vector<const Rule*> matching;
    const auto collect = [&](const CompiledDevice& device, Direction direction, const IpAddress& other,
                             const CompiledDevice* peer) {
        for (const Rule& rule : compiled.blocks[device.block].rules)
            if (matches(rule, direction, other, peer, compiled, packet))
                matching.push_back(&rule);
    };
    if (packet.came == Came::from_device) {
        const auto found = std::ranges::find(compiled.devices, packet.mac, &CompiledDevice::mac);
        if (found == compiled.devices.end())
            return {Reason::unknown_device};
        sender = &*found;
        if (owner(compiled, packet.source) != sender)
            return {Reason::spoofed_address};
        collect(*sender, Direction::to, packet.destination, target);
    } else if (target == nullptr) {
        return {Reason::unknown_device};
    } else if (owner(compiled, packet.source) != nullptr) {
        return {Reason::spoofed_address};
    }
    if (target != nullptr)
        collect(*target, Direction::from, packet.source, sender);
    if (std::ranges::any_of(matching, [](const Rule* rule) { return !rule->allow; }))
        return {Reason::denied};
    if (matching.empty())
        return {Reason::not_allowed};
    // Of one block the first rule says what is required; of two, the one that requires nothing.
    const bool free = std::ranges::any_of(matching, [](const Rule* rule) { return rule->require == Require::none; });
    return {Reason::allowed, free ? Require::none : matching.front()->require};
}

// Few bits vary, so that prefixes overlap, packets hit and near misses are common.
std::string random_prefix(Random& random) {
    const bool v4 = below(random, 2) == 0;
    const auto address =
        IpAddress::parse(v4 ? "203.0." + std::to_string(below(random, 4)) + "." + std::to_string(below(random, 8))
                            : "2001:db8::" + std::to_string(below(random, 8)));
    IpPrefix prefix{*address, address->bits() - below(random, v4 ? 33 : 126)};
    for (unsigned i = prefix.length; i < address->bits(); i++)
        prefix.address.bytes[i / 8] &= static_cast<std::uint8_t>(~(1U << (7 - i % 8)));
    return "\"" + prefix.str() + "\"";
}

std::string random_ports(Random& random, bool tcp_only) {
    const unsigned lo = 1 + below(random, 6), hi = lo + below(random, 3);
    const std::string range = std::to_string(lo) + "-" + std::to_string(hi);
    if (tcp_only)
        return "tcp/" + range;
    switch (below(random, 8)) {
    case 0:
        return "icmp/" + std::to_string(lo);
    case 1:
        return "icmpv6";
    case 2:
        return below(random, 3) == 0 ? "any" : "udp";
    default:
        return (below(random, 2) == 0 ? "tcp/" : "udp/") + range;
    }
}

std::string random_peer(Random& random, unsigned groups, unsigned devices) {
    switch (below(random, 6)) {
    case 0:
        return "\"group:g" + std::to_string(below(random, groups)) + "\"";
    case 1:
        return "\"device:d" + std::to_string(below(random, devices)) + "\"";
    default:
        return random_prefix(random);
    }
}

std::string in_brackets(const std::vector<std::string>& items) {
    std::string out;
    for (const auto& item : items)
        out += (out.empty() ? "" : ", ") + item;
    return "[" + out + "]";
}

// A list of up to three different entries.
template <class F> std::string list(Random& random, F&& make, unsigned least) {
    std::vector<std::string> items;
    for (unsigned i = least + below(random, 3); i > 0; i--)
        if (const std::string item = make(); std::ranges::find(items, item) == items.end())
            items.push_back(item);
    return in_brackets(items);
}

std::string random_policy(Random& random) {
    std::string yaml = "fleet: f\nversion: 1\nexpires: 2030-01-01T00:00:00Z\ngateways: [g]\nservices:\n";
    const unsigned services = 1 + below(random, 5), groups = 1 + below(random, 4), devices = 1 + below(random, 4);
    for (unsigned i = 0; i < services; i++) {
        const bool tls = below(random, 4) == 0;
        yaml += "  s" + std::to_string(i) + (below(random, 3) == 0 ? ": { from: " : ": { to: ") +
                list(
                    random, [&] { return random_peer(random, groups, devices); }, 1) +
                ", ports: " +
                list(random, [&] { return random_ports(random, tls); }, 1) + (tls ? ", require: tls }\n" : " }\n");
    }
    yaml += "groups:\n";
    for (unsigned i = 0; i < groups; i++) {
        std::vector<std::string> allow, deny;
        for (unsigned service = 0; service < services; service++)
            if (const auto choice = below(random, 6); choice < 3)
                (choice == 0 ? deny : allow).push_back("s" + std::to_string(service));
        yaml +=
            "  g" + std::to_string(i) + ": { allow: " + in_brackets(allow) + ", deny: " + in_brackets(deny) +
            (below(random, 3) == 0 ? ", when: { days: mon-fri, hours: \"06:00-20:00\", zone: Europe/Berlin }" : "") +
            " }\n";
    }
    yaml += "devices:\n";
    for (unsigned i = 0; i < devices; i++)
        yaml += "  - { name: d" + std::to_string(i) + ", mac: \"02:00:00:00:00:0" + std::to_string(i) +
                "\", addresses: [10.0.0." + std::to_string(i + 1) + ", \"fd00::" + std::to_string(i + 1) +
                "\"], groups: " + list(random, [&] { return "g" + std::to_string(below(random, groups)); }, 1) + " }\n";
    return yaml;
}

Packet random_packet(Random& random) {
    const std::string number = std::to_string(1 + below(random, 5));
    const bool v4 = below(random, 2) == 0;
    const auto device = [&](const std::string& host) { return *IpAddress::parse((v4 ? "10.0.0." : "fd00::") + host); };
    const IpAddress cloud =
        *IpAddress::parse(v4 ? "203.0." + std::to_string(below(random, 5)) + "." + std::to_string(below(random, 9))
                             : "2001:db8::" + std::to_string(below(random, 9)));
    Packet packet;
    if (below(random, 4) == 0) {
        packet.came = Came::out_of_tunnel;
        packet.source = below(random, 8) == 0 ? device(number) : cloud;
        packet.destination = device(number);
    } else {
        packet.mac = *MacAddress::parse("02:00:00:00:00:0" + std::to_string(below(random, 5)));
        packet.source = device(below(random, 4) == 0 ? number : std::to_string(packet.mac.bytes[5] + 1));
        packet.destination = below(random, 3) == 0 ? device(std::to_string(1 + below(random, 5))) : cloud;
    }
    constexpr std::uint8_t protos[] = {6, 6, 6, 17, 17, 1, 58};
    packet.proto = below(random, 12) == 0 ? static_cast<std::uint8_t>(below(random, 256)) : protos[below(random, 7)];
    packet.destination_port = static_cast<std::uint16_t>(below(random, 10));
    return packet;
}

} // namespace

BOOST_AUTO_TEST_SUITE(policy_compile)

BOOST_AUTO_TEST_CASE(compiled_form_and_oracle_agree) {
    constexpr unsigned seed = 20261122;
    BOOST_TEST_MESSAGE("seed " << seed);
    Random random(seed);
    std::map<Reason, std::size_t> counts;
    std::size_t required = 0;
    for (int round = 0; round < 1500; round++) {
        const std::string yaml = random_policy(random);
        const auto read = test::read(yaml);
        if (!read) { // too many rules for a device, or one service both allowed and denied
            BOOST_REQUIRE_MESSAGE(test::has(error_of(read), "rules_per_device"), error_of(read));
            continue;
        }
        const Policy& policy = *read;
        const Time at = *parse_time("2026-11-20T00:00:00Z") + std::chrono::minutes(below(random, 4 * 1440));
        const CompiledPolicy compiled = compile(policy, at);
        for (int i = 0; i < 150; i++) {
            const Packet packet = random_packet(random);
            const Verdict verdict = judge(policy, at, packet);
            const Answer answer = judge_compiled(compiled, packet);
            counts[verdict.reason]++;
            required += verdict.require != Require::none;
            BOOST_REQUIRE_MESSAGE(answer.reason == verdict.reason && answer.require == verdict.require &&
                                      verdict.allow == (answer.reason == Reason::allowed),
                                  "seed " << seed << " round " << round << ": compiled says "
                                          << reason_name(answer.reason) << ", oracle " << verdict.citation << " for "
                                          << packet.mac.str() << " " << packet.source.str() << " -> "
                                          << packet.destination.str() << " " << int(packet.proto) << "/"
                                          << packet.destination_port << " at " << format_time(at) << "\n"
                                          << yaml);
        }
    }
    // Each verdict was met often, or the test proves little.
    for (const auto reason :
         {Reason::allowed, Reason::denied, Reason::not_allowed, Reason::unknown_device, Reason::spoofed_address})
        BOOST_TEST(counts[reason] > 1'000U, reason_name(reason));
    BOOST_TEST(required > 300U);
}

BOOST_AUTO_TEST_CASE(every_policy_survives_its_payload) {
    Random random(7);
    for (int round = 0; round < 200; round++) {
        const auto read = test::read(random_policy(random));
        if (!read)
            continue;
        const Policy& policy = *read;
        const auto again = from_payload(to_payload(policy));
        BOOST_REQUIRE_MESSAGE(again, error_of(again));
        BOOST_REQUIRE(*again == policy);
        BOOST_REQUIRE(compile(*again, kNow) == compile(policy, kNow));
    }
}

BOOST_AUTO_TEST_CASE(rules_are_prefixes_times_ports_in_a_fixed_order) {
    const CompiledPolicy compiled = compiled_at_noon(read_ok());
    BOOST_REQUIRE(compiled.devices.size() == 2U);
    BOOST_TEST(compiled.devices[0].name == "camera-1");
    const RuleBlock& thermostats = compiled.blocks[compiled.devices[1].block].rules;
    BOOST_REQUIRE(thermostats.size() == 5U);
    BOOST_CHECK(std::ranges::is_sorted(thermostats));
    const auto time = std::ranges::find(thermostats, Proto::udp, &Rule::proto);
    BOOST_CHECK(time->address == IpAddress::parse("192.0.2.123")->mapped());
    BOOST_TEST(time->prefix_length == 128);
    BOOST_TEST(time->port_lo == 123);
    BOOST_TEST(time->port_hi == 123);
    BOOST_TEST(time->service == 1U);
}

BOOST_AUTO_TEST_CASE(maps_prefix_lengths_of_both_families) {
    const auto compiled =
        compiled_at_noon(read_ok(replaced(kYaml, "[192.0.2.123/32]", "[192.0.0.0/8, \"2001:db8::/33\"]")));
    const RuleBlock& block = compiled.blocks[compiled.devices[0].block].rules;
    BOOST_REQUIRE(block.size() == 2U);
    BOOST_TEST(block[0].prefix_length == 104);
    BOOST_TEST(block[1].prefix_length == 33);
}

BOOST_AUTO_TEST_CASE(groups_that_allow_the_same_share_a_block) {
    BOOST_TEST(compiled_at_noon(read_ok()).blocks.size() == 2U);
    const auto compiled = compiled_at_noon(read_ok(replaced(kYaml, "allow: [telemetry, time]", "allow: [time]")));
    BOOST_TEST(compiled.blocks.size() == 1U);
    BOOST_TEST(compiled.devices[0].block == compiled.devices[1].block);
}

BOOST_AUTO_TEST_CASE(rules_that_two_services_share_are_kept_once_for_the_first) {
    const auto compiled = compiled_at_noon(
        read_ok(replaced(kYaml, "{ to: [203.0.113.10/32, \"2001:db8::10/128\"], ports: [tcp/443, tcp/8883] }",
                         "{ to: [192.0.2.123/32], ports: [udp/123, udp/124] }")));
    const RuleBlock& block = compiled.blocks[compiled.devices[1].block].rules;
    BOOST_REQUIRE(block.size() == 2U);
    BOOST_TEST(block[0].service == 0U);
}

BOOST_AUTO_TEST_CASE(an_empty_group_allows_nothing) {
    const auto compiled = compiled_at_noon(read_ok(replaced(kYaml, "allow: [time]", "allow: []")));
    BOOST_TEST(compiled.blocks[compiled.devices[0].block].rules.empty());
}

BOOST_AUTO_TEST_CASE(a_device_of_several_groups_has_the_rules_of_all_of_them) {
    const auto compiled =
        compiled_at_noon(read_ok(replaced(replaced(kYaml, "allow: [telemetry, time]", "allow: [telemetry]"),
                                          "group: cameras", "groups: [cameras, thermostats]")));
    const auto& camera = compiled.devices[0];
    BOOST_TEST(compiled.blocks[camera.block].rules.size() == 5U);
    BOOST_TEST(camera.groups.size() == 2U);
    BOOST_TEST(compiled.blocks[compiled.devices[1].block].rules.size() == 4U);
}

BOOST_AUTO_TEST_CASE(what_denies_comes_first_then_what_requires_nothing) {
    const auto compiled = compiled_at_noon(
        read_ok(replaced(replaced(kYaml, "ports: [tcp/443, tcp/8883] }", "ports: [tcp/443], require: tls }"),
                         "allow: [time]", "allow: [telemetry], deny: [time]")));
    const RuleBlock& block = compiled.blocks[compiled.devices[0].block].rules;
    BOOST_REQUIRE(block.size() == 3U);
    BOOST_TEST(!block[0].allow);
    BOOST_CHECK(block[1].require == Require::tls);
    const RuleBlock& thermostats = compiled.blocks[compiled.devices[1].block].rules;
    BOOST_CHECK(thermostats[0].require == Require::none && thermostats[1].require == Require::tls);
}

BOOST_AUTO_TEST_CASE(icmp_of_the_other_family_makes_no_rule) {
    const auto rules = [](const char* to, const char* ports) {
        const std::string line = "{ to: [" + std::string(to) + "], ports: [" + ports + "] }";
        const auto compiled =
            compiled_at_noon(read_ok(replaced(kYaml, "{ to: [192.0.2.123/32], ports: [udp/123] }", line)));
        return compiled.blocks[compiled.devices[0].block].rules.size();
    };
    BOOST_TEST(rules("192.0.2.0/24", "icmp") == 1U);
    BOOST_TEST(rules("192.0.2.0/24", "icmpv6") == 0U);
    BOOST_TEST(rules("\"2001:db8::/32\"", "icmp/echo-request") == 0U);
    BOOST_TEST(rules("192.0.2.0/24, \"2001:db8::/32\"", "any") == 2U);
}

BOOST_AUTO_TEST_CASE(rates_are_the_smallest_of_a_devices_groups_in_force) {
    const auto yaml = replaced(replaced(kYaml, "allow: [telemetry, time]", "allow: [], rate: 1mbit, packet_rate: 50"),
                               "cameras:     { allow: [time] }",
                               "cameras: { allow: [time], rate: 64kbit, when: { days: sat, zone: Etc/UTC } }");
    const auto both = replaced(yaml, "group: cameras", "groups: [cameras, thermostats]");
    const auto on_friday = compile(read_ok(both), kNow),
               on_saturday = compile(read_ok(both), kNow + std::chrono::days(1));
    const auto& friday = on_friday.blocks[on_friday.devices[0].block];
    const auto& saturday = on_saturday.blocks[on_saturday.devices[0].block];
    BOOST_TEST(friday.rate == 125'000U);
    BOOST_TEST(friday.packet_rate == 50U);
    BOOST_TEST(friday.rules.empty());
    BOOST_TEST(saturday.rate == 8'000U);
    BOOST_TEST(saturday.rules.size() == 1U);
    BOOST_CHECK(on_friday.next_change == *parse_time("2026-11-21T00:00:00Z"));
    BOOST_CHECK(on_saturday.next_change == *parse_time("2026-11-22T00:00:00Z"));
    BOOST_CHECK(!compiled_at_noon(read_ok()).next_change);
}

BOOST_AUTO_TEST_CASE(the_lan_gives_what_the_group_says_or_else_the_policy) {
    const auto yaml = replaced(kYaml, "allow: [time]", "allow: [time], lan: { dns: off, dhcp: on }") +
                      "lan: { dns: on, arp_nd: off }\n";
    const auto compiled = compiled_at_noon(read_ok(yaml));
    const LanServices camera = compiled.blocks[compiled.devices[0].block].lan;
    const LanServices thermostat = compiled.blocks[compiled.devices[1].block].lan;
    BOOST_CHECK((camera == LanServices{.arp_nd = false, .dhcp = true, .dns = false, .ntp = false}));
    BOOST_CHECK((thermostat == LanServices{.arp_nd = false, .dhcp = false, .dns = true, .ntp = false}));
}

BOOST_AUTO_TEST_SUITE_END()
