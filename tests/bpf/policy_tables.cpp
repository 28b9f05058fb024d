// The policy as the kernel holds it: borders of rules, and the switch from one policy to the next.
#include "tests/bpf/gateway.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <thread>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

void only_rules(Gateway& gateway, const std::vector<datapath::Rule>& rules) {
    auto tables = Gateway::policy();
    tables.blocks[0].rules = rules;
    gateway.enforce(tables);
}

std::string tcp(Gateway& gateway, const std::string& to, std::uint16_t port = 443) {
    // A port of its own each time, so that no earlier flow answers for the rules.
    static std::uint16_t source = 1024;
    source = static_cast<std::uint16_t>(source == 65535 ? 1024 : source + 1);
    const Tcp header{source, port};
    return gateway.from_device(to.find(':') == std::string::npos
                                   ? Bytes(Ethernet{} / IPv4{.destination = to} / header)
                                   : Bytes(Ethernet{} / IPv6{.destination = to} / header));
}

void write_generation(Gateway& gateway, std::uint32_t generation) {
    const std::uint32_t key = PENSTOCK_GATE_GENERATION;
    const auto map = must(gateway.programs.map_fd("gate"));
    BOOST_REQUIRE(bpf_map_update_elem(map.get(), &key, &generation, BPF_ANY) == 0);
}

BOOST_AUTO_TEST_SUITE(policy_tables, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(port_ranges_end_at_their_borders) {
    Gateway gateway;
    for (const auto& to : {"203.0.113.10", "2001:db8:203::10"}) {
        BOOST_TEST(tcp(gateway, to, 442) == "not_allowed");
        BOOST_TEST(tcp(gateway, to, 443) == "pass");
        BOOST_TEST(tcp(gateway, to, 445) == "pass");
        BOOST_TEST(tcp(gateway, to, 446) == "not_allowed");
    }
    only_rules(gateway, {rule("tcp", "203.0.113.0/24", 0, 0)});
    BOOST_TEST(tcp(gateway, "203.0.113.10", 0) == "pass");
    BOOST_TEST(tcp(gateway, "203.0.113.10", 1) == "not_allowed");
    BOOST_TEST(tcp(gateway, "203.0.113.10", 65535) == "not_allowed");
    only_rules(gateway, {rule("tcp", "203.0.113.0/24", 65535, 65535)});
    BOOST_TEST(tcp(gateway, "203.0.113.10", 65534) == "not_allowed");
    BOOST_TEST(tcp(gateway, "203.0.113.10", 65535) == "pass");
    BOOST_TEST(tcp(gateway, "203.0.113.10", 0) == "not_allowed");
    only_rules(gateway, {rule("tcp", "203.0.113.0/24", 0, 65535)});
    for (const std::uint16_t port : {0, 1, 443, 32768, 65535})
        BOOST_TEST(tcp(gateway, "203.0.113.10", port) == "pass");
}

BOOST_AUTO_TEST_CASE(prefixes_end_at_their_borders) {
    struct {
        const char *prefix, *below, *first, *last, *above;
    } const cases[] = {
        {"203.0.113.64/26", "203.0.113.63", "203.0.113.64", "203.0.113.127", "203.0.113.128"},
        {"203.0.113.10/32", "203.0.113.9", "203.0.113.10", "203.0.113.10", "203.0.113.11"},
        {"203.0.113.0/25", "203.0.112.255", "203.0.113.0", "203.0.113.127", "203.0.113.128"},
        {"203.0.112.0/23", "203.0.111.255", "203.0.112.0", "203.0.113.255", "203.0.114.0"},
        {"2001:db8:203::10/128", "2001:db8:203::f", "2001:db8:203::10", "2001:db8:203::10", "2001:db8:203::11"},
        {"2001:db8:203:0:8000::/65", "2001:db8:203:0:7fff:ffff:ffff:ffff",
         "2001:db8:203:0:8000::", "2001:db8:203:0:ffff:ffff:ffff:ffff", "2001:db8:203:1::"},
        {"2001:db8:202::/47", "2001:db8:201:ffff:ffff:ffff:ffff:ffff",
         "2001:db8:202::", "2001:db8:203:ffff:ffff:ffff:ffff:ffff", "2001:db8:204::"},
    };
    for (const auto& c : cases) {
        Gateway gateway;
        must(gateway.gate.set_remote_networks({{prefix("0.0.0.0/0"), 0}, {prefix("::/0"), 0}}));
        only_rules(gateway, {rule("tcp", c.prefix, 443, 443)});
        BOOST_TEST(tcp(gateway, c.below) == "not_allowed", c.prefix << " below");
        BOOST_TEST(tcp(gateway, c.first) == "pass", c.prefix << " first");
        BOOST_TEST(tcp(gateway, c.last) == "pass", c.prefix << " last");
        BOOST_TEST(tcp(gateway, c.above) == "not_allowed", c.prefix << " above");
        // The same borders for the networks behind a tunnel.
        must(gateway.gate.set_remote_networks({{prefix(c.prefix), 0}}));
        only_rules(gateway, {rule("tcp", "0.0.0.0/0", 443, 443), rule("tcp", "::/0", 443, 443)});
        BOOST_TEST(tcp(gateway, c.below) == "no_tunnel", c.prefix << " below");
        BOOST_TEST(tcp(gateway, c.first) == "pass", c.prefix << " first");
        BOOST_TEST(tcp(gateway, c.last) == "pass", c.prefix << " last");
        BOOST_TEST(tcp(gateway, c.above) == "no_tunnel", c.prefix << " above");
    }
}

BOOST_AUTO_TEST_CASE(a_default_route_of_one_family_says_nothing_about_the_other) {
    Gateway gateway;
    must(gateway.gate.set_remote_networks({{prefix("0.0.0.0/0"), 0}}));
    only_rules(gateway, {rule("tcp", "0.0.0.0/0", 443, 443)});
    BOOST_TEST(tcp(gateway, "198.51.100.1") == "pass");
    BOOST_TEST(tcp(gateway, "2001:db8:203::10") == "not_allowed");
    only_rules(gateway, {rule("tcp", "0.0.0.0/0", 443, 443), rule("tcp", "::/0", 443, 443)});
    BOOST_TEST(tcp(gateway, "2001:db8:203::10") == "no_tunnel");
}

BOOST_AUTO_TEST_CASE(a_full_block_holds_to_its_last_rule) {
    Gateway gateway;
    std::vector<datapath::Rule> rules(PENSTOCK_MAX_RULES - 1, rule("tcp", "198.18.0.0/15", 1, 1));
    rules.push_back(rule("tcp", "203.0.113.10/32", 443, 443));
    only_rules(gateway, rules);
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass");
    BOOST_TEST(tcp(gateway, "203.0.113.11") == "not_allowed");
    only_rules(gateway, {});
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "not_allowed");
}

BOOST_AUTO_TEST_CASE(all_64_remote_networks_are_looked_at) {
    Gateway gateway;
    std::vector<datapath::RemoteNetwork> networks(PENSTOCK_MAX_SELECTORS - 1, {prefix("198.18.0.0/15"), 0});
    networks.push_back({prefix("203.0.113.0/24"), 0});
    must(gateway.gate.set_remote_networks(networks));
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass");
    networks.push_back({prefix("192.0.2.0/24"), 0});
    BOOST_TEST(!gateway.gate.set_remote_networks(networks).has_value());
}

BOOST_AUTO_TEST_CASE(a_device_without_rules_or_state_is_refused) {
    Gateway gateway;
    auto tables = Gateway::policy();
    tables.devices[0].block = 17; // no such block
    BOOST_TEST(!gateway.store.stage(tables).has_value());
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass"); // the policy in force stays
    tables = Gateway::policy();
    tables.devices[0].slot = 4000; // beyond device_capacity
    gateway.enforce(tables);
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "unknown_device");
    BOOST_TEST(gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000, 0x12}) ==
               "no_device");
}

BOOST_AUTO_TEST_CASE(an_address_belongs_to_one_device) {
    Gateway gateway;
    auto tables = Gateway::policy();
    tables.devices[1].addresses.push_back(address("10.20.0.12"));
    const auto staged = gateway.store.stage(tables);
    BOOST_REQUIRE(!staged.has_value());
    BOOST_TEST(staged.error().message().find("10.20.0.12") != std::string::npos);
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass"); // the policy in force stays
}

BOOST_AUTO_TEST_CASE(lock_drops_everything) {
    Gateway gateway;
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass");
    must(gateway.store.lock());
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "unknown_device");
    BOOST_TEST(tcp(gateway, "2001:db8:203::10") == "unknown_device");
    BOOST_TEST(gateway.from_device(Ethernet{} / Arp{}) == "unknown_device");
}

BOOST_AUTO_TEST_CASE(generations_go_up_and_never_to_none) {
    Gateway gateway;
    const auto first = gateway.store.generation();
    BOOST_TEST(first == 1U);
    gateway.enforce(Gateway::policy());
    BOOST_TEST(gateway.store.generation() == first + 1);
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass");
    write_generation(gateway, 0xffffffff);
    gateway.enforce(Gateway::policy());
    BOOST_TEST(gateway.store.generation() == 2U);
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "pass");
}

BOOST_AUTO_TEST_CASE(a_half_without_tables_drops) {
    Gateway gateway(Gateway::Maps::own); // generation 1: only the odd half was ever filled
    write_generation(gateway, 2);
    BOOST_TEST(tcp(gateway, "203.0.113.10") == "unknown_device");
}

// Both policies allow 443 and refuse 444, but keep their rules in different blocks: a packet that saw the devices of
// one and the rules of the other would be judged the wrong way round.
BOOST_AUTO_TEST_CASE(no_packet_sees_half_of_two_policies) {
    Gateway gateway;
    const std::vector good{rule("tcp", "203.0.113.0/24", 443, 443)};
    const std::vector bad{rule("tcp", "203.0.113.0/24", 444, 444)};
    auto a = Gateway::policy(), b = a;
    a.blocks = {{good}, {bad}};
    b.blocks = {{bad}, {good}};
    b.devices[0].block = 1;
    a.devices[1].block = 1;
    b.devices[1].block = 0;
    gateway.enforce(a);
    std::atomic<bool> stop = false;
    std::atomic<int> switches = 0;
    std::thread other([&] {
        for (int i = 0; !stop && i < 100000; i++) {
            if (!gateway.store.stage(i % 2 == 0 ? b : a) || !gateway.store.commit())
                break;
            switches++;
        }
    });
    // The kernel repeats the forbidden packet in one go, so that most switches happen inside the program.
    constexpr std::uint64_t kRepeat = 5000;
    constexpr int kSwitches = 1000, kFewest = 10; // within the time, also on an emulated machine
    const auto refused = [&] { return gateway.counters.drops().at(PENSTOCK_DROP_NOT_ALLOWED - 1).count; };
    const auto before = refused();
    std::uint64_t packets = 0;
    int wrong = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (packets == 0 || (switches < kSwitches && std::chrono::steady_clock::now() < end)) {
        run_program(gateway.programs, datapath::Hook::lan_ingress, Ethernet{} / IPv4{} / Tcp{.destination = 444},
                    {.ifindex = gateway.lan, .ingress_ifindex = gateway.lan}, kRepeat);
        packets += kRepeat;
        wrong += tcp(gateway, "203.0.113.10", 443) != "pass" ? 1 : 0;
    }
    stop = true;
    other.join();
    BOOST_TEST(refused() - before == packets);
    BOOST_TEST(wrong == 0);
    std::cout << "# " << switches << " switches under " << packets << " packets\n";
    BOOST_TEST(switches >= kFewest);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
