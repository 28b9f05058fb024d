// policy/compile: fixed order, shared blocks, and the same verdicts as the oracle for random policies and packets.
#include "policy/compile.hpp"
#include "policy/oracle.hpp"
#include "policy/payload.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <algorithm>
#include <random>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

using Random = std::mt19937;

unsigned below(Random& random, unsigned end) { return static_cast<unsigned>(random() % end); }

std::string bits(const std::array<std::uint8_t, 16>& bytes) {
    std::string out;
    for (const auto byte : bytes)
        for (int i = 7; i >= 0; i--)
            out += (byte >> i & 1) != 0 ? '1' : '0';
    return out;
}

// What the datapath does, written down in the slowest way.
const Rule* match(const RuleBlock& block, const Packet& packet) {
    for (const Rule& rule : block)
        if (bits(rule.address).substr(0, rule.prefix_length) ==
                bits(packet.destination.mapped()).substr(0, rule.prefix_length) &&
            static_cast<std::uint8_t>(rule.proto) == packet.proto && packet.port >= rule.port_lo &&
            packet.port <= rule.port_hi)
            return &rule;
    return nullptr;
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

std::string random_ports(Random& random) {
    const unsigned lo = 1 + below(random, 6), hi = lo + below(random, 3);
    return std::string(below(random, 2) == 0 ? "tcp/" : "udp/") + std::to_string(lo) + "-" + std::to_string(hi);
}

// A list of up to three different entries.
template <class F> std::string list(Random& random, F&& make, unsigned least) {
    std::vector<std::string> items;
    for (unsigned i = least + below(random, 3); i > 0; i--)
        if (const std::string item = make(); std::ranges::find(items, item) == items.end())
            items.push_back(item);
    std::string out;
    for (const auto& item : items)
        out += (out.empty() ? "" : ", ") + item;
    return "[" + out + "]";
}

std::string random_policy(Random& random) {
    std::string yaml = "fleet: f\nversion: 1\nexpires: 2030-01-01T00:00:00Z\ngateways: [g]\nservices:\n";
    const unsigned services = 1 + below(random, 4), groups = 1 + below(random, 3), devices = 1 + below(random, 4);
    for (unsigned i = 0; i < services; i++)
        yaml += "  s" + std::to_string(i) + ": { to: " +
                list(
                    random, [&] { return random_prefix(random); }, 1) +
                ", ports: " + list(random, [&] { return random_ports(random); }, 1) + " }\n";
    yaml += "groups:\n";
    for (unsigned i = 0; i < groups; i++)
        yaml += "  g" + std::to_string(i) +
                ": { allow: " + list(random, [&] { return "s" + std::to_string(below(random, services)); }, 0) + " }\n";
    yaml += "devices:\n";
    for (unsigned i = 0; i < devices; i++)
        yaml += "  - { name: d" + std::to_string(i) + ", mac: \"02:00:00:00:00:0" + std::to_string(i) +
                "\", addresses: [10.0.0." + std::to_string(i + 1) + ", \"fd00::" + std::to_string(i + 1) +
                "\"], group: g" + std::to_string(below(random, groups)) + " }\n";
    return yaml;
}

Packet random_packet(Random& random) {
    const std::string number = std::to_string(1 + below(random, 5));
    const bool v4 = below(random, 2) == 0;
    Packet packet;
    packet.mac = *MacAddress::parse("02:00:00:00:00:0" + std::to_string(below(random, 5)));
    packet.source = *IpAddress::parse((v4 ? "10.0.0." : "fd00::") +
                                      (below(random, 4) == 0 ? number : std::to_string(packet.mac.bytes[5] + 1)));
    packet.destination =
        *IpAddress::parse(v4 ? "203.0." + std::to_string(below(random, 5)) + "." + std::to_string(below(random, 9))
                             : "2001:db8::" + std::to_string(below(random, 9)));
    packet.proto = below(random, 8) == 0   ? static_cast<std::uint8_t>(below(random, 256))
                   : below(random, 2) == 0 ? 6
                                           : 17;
    packet.port = static_cast<std::uint16_t>(below(random, 10));
    return packet;
}

} // namespace

BOOST_AUTO_TEST_SUITE(policy_compile)

BOOST_AUTO_TEST_CASE(compiled_form_and_oracle_agree) {
    constexpr unsigned seed = 20261122;
    BOOST_TEST_MESSAGE("seed " << seed);
    Random random(seed);
    std::size_t counts[4] = {};
    for (int round = 0; round < 400; round++) {
        const std::string yaml = random_policy(random);
        const Policy policy = read_ok(yaml);
        const CompiledPolicy compiled = compile(policy);
        for (int i = 0; i < 150; i++) {
            const Packet packet = random_packet(random);
            const Verdict verdict = judge(policy, packet);
            counts[static_cast<int>(verdict.reason)]++;
            const auto device = std::ranges::find(compiled.devices, packet.mac, &CompiledDevice::mac);
            Reason reason = Reason::unknown_device;
            const Rule* rule = nullptr;
            if (device != compiled.devices.end()) {
                const bool own = std::ranges::find(device->addresses, packet.source) != device->addresses.end();
                rule = own ? match(compiled.blocks[device->block], packet) : nullptr;
                reason = !own ? Reason::spoofed_address : rule != nullptr ? Reason::allowed : Reason::not_allowed;
            }
            BOOST_REQUIRE_MESSAGE(reason == verdict.reason && verdict.allow == (rule != nullptr),
                                  "seed " << seed << " round " << round << ": compiled says " << reason_name(reason)
                                          << ", oracle " << verdict.citation << " for " << packet.mac.str() << " "
                                          << packet.source.str() << " -> " << packet.destination.str() << " "
                                          << int(packet.proto) << "/" << packet.port << "\n"
                                          << yaml);
        }
    }
    for (const auto count : counts) // each verdict was met often, or the test proves little
        BOOST_TEST(count > 1'000U);
}

BOOST_AUTO_TEST_CASE(every_policy_survives_its_payload) {
    Random random(7);
    for (int round = 0; round < 200; round++) {
        const Policy policy = read_ok(random_policy(random));
        const auto again = from_payload(to_payload(policy));
        BOOST_REQUIRE_MESSAGE(again, error_of(again));
        BOOST_REQUIRE(*again == policy);
        BOOST_REQUIRE(compile(*again) == compile(policy));
    }
}

BOOST_AUTO_TEST_CASE(rules_are_prefixes_times_ports_in_a_fixed_order) {
    const CompiledPolicy compiled = compile(read_ok());
    BOOST_REQUIRE(compiled.devices.size() == 2U);
    BOOST_TEST(compiled.devices[0].name == "camera-1");
    const RuleBlock& thermostats = compiled.blocks[compiled.devices[1].block];
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
    const auto compiled = compile(read_ok(replaced(kYaml, "[192.0.2.123/32]", "[192.0.0.0/8, \"2001:db8::/33\"]")));
    const RuleBlock& block = compiled.blocks[compiled.devices[0].block];
    BOOST_REQUIRE(block.size() == 2U);
    BOOST_TEST(block[0].prefix_length == 104);
    BOOST_TEST(block[1].prefix_length == 33);
}

BOOST_AUTO_TEST_CASE(groups_that_allow_the_same_share_a_block) {
    BOOST_TEST(compile(read_ok()).blocks.size() == 2U);
    const auto compiled = compile(read_ok(replaced(kYaml, "allow: [telemetry, time]", "allow: [time]")));
    BOOST_TEST(compiled.blocks.size() == 1U);
    BOOST_TEST(compiled.devices[0].block == compiled.devices[1].block);
}

BOOST_AUTO_TEST_CASE(rules_that_two_services_share_are_kept_once_for_the_first) {
    const auto compiled =
        compile(read_ok(replaced(kYaml, "{ to: [203.0.113.10/32, \"2001:db8::10/128\"], ports: [tcp/443, tcp/8883] }",
                                 "{ to: [192.0.2.123/32], ports: [udp/123, udp/124] }")));
    const RuleBlock& block = compiled.blocks[compiled.devices[1].block];
    BOOST_REQUIRE(block.size() == 2U);
    BOOST_TEST(block[0].service == 0U);
}

BOOST_AUTO_TEST_CASE(an_empty_group_allows_nothing) {
    const auto compiled = compile(read_ok(replaced(kYaml, "allow: [time]", "allow: []")));
    BOOST_TEST(compiled.blocks[compiled.devices[0].block].empty());
}

BOOST_AUTO_TEST_SUITE_END()
