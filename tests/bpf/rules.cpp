// What rules can say: deny, from, ICMP types, any, other devices and groups, services of the gateway.
#include "tests/bpf/gateway.hpp"

#include <algorithm>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Direction;
using datapath::Peer;
using datapath::Rule;

const Mac kOther = "02:00:00:00:00:13";
const Tcp kAnswer{443, 40000, 0x12};

Rule deny(Rule rule) {
    rule.allow = false;
    return rule;
}
Rule from(Rule rule) {
    rule.direction = Direction::from;
    return rule;
}
Rule with(Peer peer, std::uint32_t index, Rule rule = {.proto = 6, .port_low = 443, .port_high = 443}) {
    rule.peer = peer;
    rule.index = index;
    return rule;
}

BOOST_AUTO_TEST_SUITE(rules, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(a_rule_that_denies_wins_wherever_it_stands) {
    for (const auto& [to, out] : {std::pair<const char*, Bytes>{"203.0.113.10/32", Ethernet{} / IPv4{} / Tcp{}},
                                  {"2001:db8:203::10/128", Ethernet{} / IPv6{} / Tcp{}}}) {
        const auto wide = rule(
            "tcp", to[0] == '2' && to[1] == '0' && to[2] == '3' ? "203.0.113.0/24" : "2001:db8:203::/64", 1, 65535);
        std::vector<Rule> rules{wide, deny(rule("tcp", to, 443, 443))};
        for (int order = 0; order < 2; order++) {
            Gateway gateway;
            gateway.enforce_rules(rules);
            BOOST_TEST(gateway.from_device(out) == "denied");
            std::ranges::reverse(rules);
        }
        Gateway gateway;
        gateway.enforce_rules({wide, deny(rule("tcp", to, 444, 444)), deny(rule("udp", to, 443, 443))});
        BOOST_TEST(gateway.from_device(out) == "pass");
        gateway.enforce_rules({wide, deny(rule("any", to, 0, 0))}); // takes the running flow away
        BOOST_TEST(gateway.from_device(out) == "denied");
    }
}

BOOST_AUTO_TEST_CASE(what_may_begin_from_the_cloud_may_be_answered) {
    const Packet in4 = Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"}, out4 = Ethernet{} / IPv4{};
    const Packet in6 = Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"}, out6 = Ethernet{} / IPv6{};
    for (const auto& [in, out] : {std::pair(in4, out4), std::pair(in6, out6)}) {
        Gateway gateway;
        gateway.enforce_rules(
            {from(rule("tcp", "203.0.113.0/24", 22, 22)), from(rule("tcp", "2001:db8:203::/64", 22, 22))});
        BOOST_TEST(gateway.from_device(out / Tcp{22, 5000, 0x12}) == "not_allowed"); // nobody asked yet
        BOOST_TEST(gateway.to_device(in / Tcp{5000, 23}) == "no_flow");
        BOOST_TEST(gateway.to_device(in / Udp{5000, 22}) == "no_flow");
        BOOST_TEST(gateway.to_device(in / Tcp{5000, 22}) == "pass");
        BOOST_TEST(gateway.from_device(out / Tcp{22, 5000, 0x12}) == "pass");
        BOOST_TEST(gateway.from_device(out / Tcp{22, 5001, 0x12}) == "not_allowed");
        BOOST_TEST(gateway.from_device(out / Tcp{22, 5000}) == "not_allowed"); // a SYN begins something of its own
        BOOST_TEST(gateway.from_device(out / Tcp{5000, 22}) == "not_allowed"); // `from` is not `to`
        gateway.enforce_rules({});
        BOOST_TEST(gateway.from_device(out / Tcp{22, 5000, 0x12}) == "not_allowed");
        BOOST_TEST(gateway.to_device(in / Tcp{5000, 22, 0x10}) == "not_allowed");
    }
}

BOOST_AUTO_TEST_CASE(from_is_judged_by_the_tunnel_that_covers_the_peer) {
    Gateway gateway;
    gateway.enforce_rules({from(rule("tcp", "0.0.0.0/0", 22, 22))});
    const auto in = [&](const char* source) {
        return gateway.to_device(Ethernet{} / IPv4{source, "10.20.0.12"} / Tcp{5000, 22});
    };
    BOOST_TEST(in("203.0.113.10") == "pass");
    BOOST_TEST(in("198.51.100.1") == "no_tunnel");
    BOOST_TEST(in("10.20.0.13") == "no_flow"); // a device's address out of a tunnel
}

BOOST_AUTO_TEST_CASE(a_devices_own_flows_do_not_push_out_those_its_peers_began) {
    Gateway gateway;
    gateway.enforce_rules({from(rule("tcp", "203.0.113.0/24", 22, 22)), rule("udp", "203.0.113.0/24", 1, 65535)});
    for (std::uint16_t peer = 5000; peer < 5016; peer++)
        BOOST_REQUIRE(gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{peer, 22}) == "pass");
    for (std::uint16_t port = 1; port < 2000; port++)
        BOOST_REQUIRE(gateway.from_device(Ethernet{} / IPv4{} / Udp{port, port}) == "pass");
    for (std::uint16_t peer = 5000; peer < 5016; peer++)
        BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{22, peer, 0x12}) == "pass");
    // Nor do its peers push out all of the device's own.
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Udp{9, 9}) == "pass");
    for (std::uint16_t peer = 6000; peer < 6100; peer++)
        BOOST_REQUIRE(gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{peer, 22}) == "pass");
    int own = gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Udp{9, 9}) == "pass" ? 1 : 0;
    for (std::uint16_t port = 1900; port < 2000; port++)
        own += gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Udp{port, port}) == "pass" ? 1 : 0;
    BOOST_TEST(own >= 16);
}

BOOST_AUTO_TEST_CASE(icmp_is_allowed_by_type_and_only_echo_is_answered) {
    Gateway gateway;
    gateway.enforce_rules({rule("icmp", "203.0.113.0/24", 8, 8), rule("icmp", "203.0.113.0/24", 13, 13),
                           rule("icmpv6", "2001:db8:203::/64", 128, 128)});
    const Bytes id{0, 7, 0, 1}, other_id{0, 8, 0, 1};
    const Packet out = Ethernet{} / IPv4{}, in = Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"};
    const Packet out6 = Ethernet{} / IPv6{}, in6 = Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"};
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 0, .rest = id}) == "no_flow");
    BOOST_TEST(gateway.from_device(out / Icmp{.rest = id}) == "pass");
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 0, .rest = id}) == "pass");
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 0, .rest = other_id}) == "no_flow");
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 8, .rest = id}) == "no_flow"); // no answer
    BOOST_TEST(gateway.from_device(out / Icmp{.type = 0, .rest = id}) == "not_allowed");
    BOOST_TEST(gateway.from_device(out / Icmp{.type = 13, .rest = id}) == "pass");
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 14, .rest = id}) == "no_flow");
    BOOST_TEST(gateway.from_device(out / Icmp{.type = 15, .rest = id}) == "not_allowed");
    BOOST_TEST(gateway.from_device(out6 / Icmpv6{.rest = id}) == "pass");
    BOOST_TEST(gateway.to_device(in6 / Icmpv6{.type = 129, .rest = id}) == "pass");
    BOOST_TEST(gateway.to_device(in6 / Icmpv6{.type = 129, .rest = other_id}) == "no_flow");
    // The protocol of the other family is nothing we know.
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.protocol = 58} / Icmp{.type = 128, .rest = id}) == "not_allowed");
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 3} / Payload{(IPv4{} / Icmp{.rest = id}).bytes()}) == "pass");
    BOOST_TEST(gateway.to_device(in / Icmp{.type = 3} / Payload{(IPv4{} / Icmp{.rest = other_id}).bytes()}) ==
               "no_flow");
}

BOOST_AUTO_TEST_CASE(a_ping_from_the_cloud_is_answered) {
    Gateway gateway;
    gateway.enforce_rules({from(rule("icmp", "203.0.113.0/24", 8, 8))});
    const Bytes id{0, 7, 0, 1};
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Icmp{.type = 0, .rest = id}) == "not_allowed");
    BOOST_TEST(gateway.to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Icmp{.rest = id}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Icmp{.type = 0, .rest = id}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Icmp{.type = 8, .rest = id}) == "not_allowed");
}

BOOST_AUTO_TEST_CASE(a_devices_icmp_error_about_a_known_flow_passes) {
    Gateway gateway;
    gateway.enforce_rules({from(rule("udp", "203.0.113.0/24", 161, 161))});
    const Packet request = IPv4{"203.0.113.10", "10.20.0.12"} / Udp{5000, 161};
    const Packet stranger = IPv4{"203.0.113.10", "10.20.0.12"} / Udp{5001, 161};
    const auto error = [&](const Packet& quoted, const char* to = "203.0.113.10") {
        return gateway.from_device(Ethernet{} / IPv4{.destination = to} / Icmp{.type = 3, .code = 3} /
                                   Payload{quoted.bytes()});
    };
    BOOST_TEST(error(request) == "not_allowed");
    Packet frame = Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Udp{5000, 161};
    BOOST_TEST(gateway.to_device(frame) == "pass");
    BOOST_TEST(error(request) == "pass");
    BOOST_TEST(error(request, "203.0.113.11") == "not_allowed"); // not to who sent it
    BOOST_TEST(error(stranger) == "not_allowed");
}

BOOST_AUTO_TEST_CASE(any_is_tcp_udp_and_icmp) {
    Gateway gateway;
    gateway.enforce_rules({rule("any", "203.0.113.0/24", 0, 0)});
    for (const Packet& frame :
         {Ethernet{} / IPv4{} / Tcp{1, 1}, Ethernet{} / IPv4{} / Udp{1, 65535}, Ethernet{} / IPv4{} / Icmp{}})
        BOOST_TEST(gateway.from_device(frame) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.protocol = 47} / Payload{}) == "not_allowed");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Esp{} / Payload{}) == "not_allowed");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv6{} / Tcp{}) == "not_allowed");
}

// Device 12 to device 13 through the gateway: judged when it comes in, and again when it goes out.
BOOST_AUTO_TEST_CASE(devices_reach_each_other_only_if_the_policy_names_it) {
    const Packet ask4 = Ethernet{} / IPv4{"10.20.0.12", "10.20.0.13"};
    const Packet ask6 = Ethernet{} / IPv6{"fd20::12", "fd20::13"};
    const Packet answer4 = Ethernet{.source = kOther} / IPv4{"10.20.0.13", "10.20.0.12"};
    const Packet answer6 = Ethernet{.source = kOther} / IPv6{"fd20::13", "fd20::12"};
    struct {
        const char* name;
        Rule of_12, of_13;
        bool allowed;
    } const cases[] = {{"nothing", {.allow = false}, {.allow = false}, false},
                       {"to the device", with(Peer::device, 2), with(Peer::device, 7), true},
                       {"to another device", with(Peer::device, 3), with(Peer::device, 7), false},
                       {"to its group", with(Peer::group, 70), with(Peer::device, 7), true},
                       {"to another group", with(Peer::group, 72), with(Peer::device, 7), false},
                       {"from the device", with(Peer::device, 7), from(with(Peer::device, 1)), true},
                       {"from its group", with(Peer::device, 7), from(with(Peer::group, 60)), true},
                       {"from its group, another port", with(Peer::device, 7),
                        from(with(Peer::group, 60, {.proto = 6, .port_low = 444, .port_high = 444})), false},
                       {"the network", rule("tcp", "0.0.0.0/0", 443, 443), rule("tcp", "::/0", 443, 443), false},
                       {"to it, but it denies", with(Peer::device, 2), from(deny(with(Peer::device, 1))), false}};
    for (const auto& c : cases) {
        for (const auto& [ask, answer] : {std::pair(ask4, answer4), std::pair(ask6, answer6)}) {
            Gateway gateway;
            auto tables = Gateway::policy();
            tables.blocks[0].rules = {c.of_12};
            tables.blocks[1].rules = {c.of_13};
            tables.devices[0].groups = {60, 61};
            tables.devices[1].groups = {70, 71};
            gateway.enforce(tables);
            const auto passes = [&](const std::string& verdict) { return verdict == "pass"; };
            BOOST_TEST(!passes(gateway.from_device(answer / kAnswer)), c.name);
            BOOST_TEST(passes(gateway.from_device(ask / Tcp{})) == c.allowed, c.name);
            BOOST_TEST(passes(gateway.device_to_device(ask / Tcp{})) == c.allowed, c.name);
            BOOST_TEST(passes(gateway.from_device(answer / kAnswer)) == c.allowed, c.name);
            BOOST_TEST(passes(gateway.device_to_device(answer / kAnswer)) == c.allowed, c.name);
            BOOST_TEST(!passes(gateway.from_device(answer / Tcp{})), c.name);
            BOOST_TEST(!passes(gateway.to_device(ask / Tcp{})), c.name << ": out of a tunnel");
            gateway.enforce_rules({});
            BOOST_TEST(!passes(gateway.from_device(ask / Tcp{})), c.name << ": taken away");
            BOOST_TEST(!passes(gateway.device_to_device(answer / kAnswer)), c.name << ": taken away");
        }
    }
}

BOOST_AUTO_TEST_CASE(what_one_device_sends_another_needs_the_mark_of_layer_1) {
    Gateway gateway;
    gateway.enforce_rules({with(Peer::device, 2)});
    const Packet ask = Ethernet{.destination = kOther} / IPv4{"10.20.0.12", "10.20.0.13"} / Tcp{};
    BOOST_TEST(gateway.judge(datapath::Hook::lan_egress, ask,
                             {.ifindex = gateway.lan, .ingress_ifindex = gateway.lan}) == "not_decrypted");
    BOOST_TEST(gateway.device_to_device(ask) == "pass");
}

BOOST_AUTO_TEST_CASE(services_of_the_gateway_are_given_one_by_one) {
    struct {
        const char* name;
        Packet frame;
        datapath::LanServices needs;
        std::string otherwise;
    } const cases[] = {
        {"DNS", Ethernet{} / IPv4{.destination = "10.20.0.1"} / Udp{5000, 53}, {.dns = true}, "not_allowed"},
        {"DNS over TCP", Ethernet{} / IPv4{.destination = "10.20.0.1"} / Tcp{5000, 53}, {.dns = true}, "not_allowed"},
        {"DNS over IPv6", Ethernet{} / IPv6{.destination = "fd20::1"} / Udp{5000, 53}, {.dns = true}, "not_allowed"},
        {"NTP", Ethernet{} / IPv4{.destination = "10.20.0.1"} / Udp{123, 123}, {.ntp = true}, "not_allowed"},
        {"NTP over IPv6", Ethernet{} / IPv6{.destination = "fd20::1"} / Udp{123, 123}, {.ntp = true}, "not_allowed"},
        {"DHCP renewal", Ethernet{} / IPv4{.destination = "10.20.0.1"} / Udp{68, 67}, {.dhcp = true}, "not_allowed"},
        {"DHCP",
         Ethernet{.destination = "ff:ff:ff:ff:ff:ff"} / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67},
         {.dhcp = true},
         "address_mismatch"},
        {"DHCPv6",
         Ethernet{.destination = "33:33:00:01:00:02"} / IPv6{"fe80::12", "ff02::1:2"} / Udp{546, 547},
         {.dhcp = true},
         "address_mismatch"},
        {"ARP", Ethernet{} / Arp{}, {.arp_nd = true}, "not_allowed"},
        {"ND",
         Ethernet{} / IPv6{.destination = "fe80::1", .hop_limit = 255} / neighbour_advert("fd20::12"),
         {.arp_nd = true},
         "not_allowed"},
    };
    for (const auto& c : cases) {
        Gateway gateway;
        auto tables = Gateway::policy();
        tables.blocks[0].lan = c.needs;
        gateway.enforce(tables);
        BOOST_TEST(gateway.from_device(c.frame) == "pass", c.name);
        tables.blocks[0].lan = {
            .arp_nd = !c.needs.arp_nd, .dhcp = !c.needs.dhcp, .dns = !c.needs.dns, .ntp = !c.needs.ntp};
        gateway.enforce(tables);
        BOOST_TEST(gateway.from_device(c.frame) == c.otherwise, c.name);
    }
    Gateway gateway;
    auto tables = Gateway::policy();
    tables.blocks[0].lan = {.dhcp = true, .dns = true, .ntp = true};
    gateway.enforce(tables);
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.destination = "10.20.0.1"} / Tcp{5000, 22}) == "not_allowed");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.destination = "192.0.2.1"} / Udp{5000, 53}) == "not_allowed");
    BOOST_TEST(gateway.from_device(Ethernet{.source = "02:00:00:00:00:99"} / IPv4{"0.0.0.0", "255.255.255.255"} /
                                   Udp{68, 67}) == "unknown_device");
}

BOOST_AUTO_TEST_CASE(a_device_that_is_bound_to_a_lan_is_seen_there_only) {
    Gateway gateway;
    auto tables = Gateway::policy();
    tables.devices[0].ifindex = static_cast<std::uint32_t>(gateway.lan);
    gateway.enforce(tables);
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / Arp{}) == "pass");
    tables.devices[0].ifindex = static_cast<std::uint32_t>(gateway.other);
    gateway.enforce(tables);
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "wrong_lan");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv6{} / Tcp{}) == "wrong_lan");
    BOOST_TEST(gateway.from_device(Ethernet{} / Arp{}) == "wrong_lan");
}

BOOST_AUTO_TEST_CASE(all_64_rules_are_looked_at) {
    Gateway gateway;
    for (const char* to : {"203.0.113.10/32", "2001:db8:203::10/128"}) {
        const Bytes out = to[2] == '3' ? Bytes(Ethernet{} / IPv4{} / Tcp{}) : Bytes(Ethernet{} / IPv6{} / Tcp{});
        std::vector<Rule> rules(datapath::kMaxRules - 1, rule("tcp", to, 1, 1));
        gateway.enforce_rules(rules);
        BOOST_TEST(gateway.from_device(out) == "not_allowed");
        rules.push_back(rule("tcp", to, 443, 443));
        gateway.enforce_rules(rules);
        BOOST_TEST(gateway.from_device(out) == "pass");
        rules.push_back(rule("tcp", to, 444, 444));
        auto tables = Gateway::policy();
        tables.blocks[0].rules = rules;
        BOOST_TEST(!gateway.store.stage(tables).has_value());
    }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
