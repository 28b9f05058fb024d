// What may reach devices. A kernel SA's packets (bpf_skb_get_xfrm_state) cannot be made here: the suites with two
// gateways judge them; here "decrypted" is what comes from the TUN of the userspace ESP.
#include "tests/bpf/gateway.hpp"

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Ethernet kToDevice{.source = "02:00:00:00:00:01", .destination = "02:00:00:00:00:12"};
const IPv4 kReply{.source = "203.0.113.10", .destination = "10.20.0.12"};
const IPv6 kReply6{.source = "2001:db8:203::10", .destination = "fd20::12"};
const Tcp kTcpReply{.source = 443, .destination = 40000, .flags = 0x12};
const Udp kUdpReply{.source = 5000, .destination = 40000};

// Device 12 has asked for TCP and UDP, over IPv4 and IPv6.
struct Asked : Gateway {
    Asked() {
        for (const Bytes& frame : {Bytes(Ethernet{} / IPv4{} / Tcp{}), Bytes(Ethernet{} / IPv4{} / Udp{}),
                                   Bytes(Ethernet{} / IPv6{} / Tcp{}), Bytes(Ethernet{} / IPv6{} / Udp{})})
            BOOST_REQUIRE(from_device(frame) == "pass");
    }
};

void check(const std::vector<Case>& cases) {
    for (const auto& c : cases) {
        Asked gateway;
        if (c.setup)
            c.setup(gateway);
        const auto verdict = gateway.to_device(c.packet);
        BOOST_TEST(verdict == c.verdict, c.name << ": " << verdict << ", expected " << c.verdict);
    }
}

// The error a router sends about `quoted`, without its Ethernet header.
Bytes quote(const Packet& quoted) { return quoted.bytes(); }

BOOST_AUTO_TEST_SUITE(lan_egress, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(passes_replies_to_what_a_device_asked) {
    check({{"TCP", kToDevice / kReply / kTcpReply, "pass"},
           {"UDP", kToDevice / kReply / kUdpReply / Payload{}, "pass"},
           {"TCP over IPv6", kToDevice / kReply6 / kTcpReply, "pass"},
           {"behind extension headers", kToDevice / kReply6 / Extension{} / Extension{.type = 60} / kTcpReply, "pass"},
           {"UDP over IPv6", kToDevice / kReply6 / kUdpReply / Payload{}, "pass"}});
}

BOOST_AUTO_TEST_CASE(drops_what_answers_nothing) {
    check(
        {{"other port of the device", kToDevice / kReply / Tcp{443, 40001}, "no_flow"},
         {"other port of the service", kToDevice / kReply / Tcp{444, 40000}, "no_flow"},
         {"other service", kToDevice / IPv4{"203.0.113.11", "10.20.0.12"} / kTcpReply, "no_flow"},
         {"other protocol", kToDevice / kReply / Udp{443, 40000}, "no_flow"},
         {"IPv6, other port", kToDevice / kReply6 / Tcp{443, 40001}, "no_flow"},
         {"the other device", Ethernet{} / IPv4{"203.0.113.10", "10.20.0.13"} / kTcpReply, "no_flow"},
         {"echo request", kToDevice / kReply / Icmp{}, "no_flow"},
         {"echo reply", kToDevice / kReply / Icmp{.type = 0}, "no_flow"},
         {"redirect", kToDevice / kReply / Icmp{.type = 5} / Payload{quote(IPv4{} / Tcp{})}, "no_flow"},
         {"router advertisement", kToDevice / kReply6 / Icmpv6{.type = 134} / Payload{}, "no_flow"},
         {"ESP", kToDevice / kReply / Esp{} / Payload{}, "no_flow"},
         {"nobody's address", kToDevice / IPv4{"203.0.113.10", "10.20.0.99"} / kTcpReply, "no_device"},
         {"nobody's address, IPv6", kToDevice / IPv6{"2001:db8:203::10", "fd20::99"} / kTcpReply, "no_device"},
         {"multicast", kToDevice / IPv4{"203.0.113.10", "224.0.0.251"} / kUdpReply, "no_device"},
         {"mapped addresses", kToDevice / IPv6{"::ffff:203.0.113.10", "::ffff:10.20.0.12"} / kTcpReply, "malformed"},
         {"fragment",
          kToDevice / IPv4{.source = "203.0.113.10", .destination = "10.20.0.12", .more_fragments = true} / kTcpReply,
          "fragment"},
         {"options",
          kToDevice / IPv4{.source = "203.0.113.10", .destination = "10.20.0.12", .options = {1, 1, 1, 1}} / kTcpReply,
          "ip_options"},
         {"routing header", kToDevice / kReply6 / Extension{.type = 43} / kTcpReply, "ip_options"},
         {"a SYN alone, which is no answer", kToDevice / kReply / Tcp{443, 40000}, "no_flow"},
         {"ARP that is forwarded", kToDevice / Arp{}, "ethertype"},
         {"VLAN", kToDevice / Vlan{} / kReply / kTcpReply, "vlan"}});
}

BOOST_AUTO_TEST_CASE(drops_replies_that_no_tunnel_decrypted) {
    Asked gateway;
    const Bytes reply = kToDevice / kReply / kTcpReply, reply6 = kToDevice / kReply6 / kTcpReply;
    const auto from = [&](int ifindex, const Bytes& frame) {
        return gateway.judge(datapath::Hook::lan_egress, frame, {.ifindex = gateway.lan, .ingress_ifindex = ifindex});
    };
    for (const auto& frame : {reply, reply6}) {
        BOOST_TEST(from(gateway.wan, frame) == "not_decrypted");
        BOOST_TEST(from(gateway.raw, frame) == "not_decrypted");
        BOOST_TEST(from(gateway.lan, frame) == "not_decrypted");
        BOOST_TEST(from(gateway.other, frame) == "not_decrypted");
        BOOST_TEST(from(gateway.tun, frame) == "pass");
    }
    must(gateway.gate.set_flags({})); // the kernel's ESP has no TUN
    BOOST_TEST(from(gateway.tun, reply) == "not_decrypted");
    BOOST_TEST(from(gateway.tun, reply6) == "not_decrypted");
}

BOOST_AUTO_TEST_CASE(passes_what_the_gateway_itself_sends) {
    Gateway gateway;
    for (const Bytes& frame :
         {Bytes(kToDevice / IPv4{"10.20.0.1", "10.20.0.12"} / Udp{67, 68}), Bytes(kToDevice / Arp{.operation = 2}),
          Bytes(kToDevice / IPv6{"fe80::1", "ff02::1"} / Icmpv6{.type = 134})})
        BOOST_TEST(gateway.judge(datapath::Hook::lan_egress, frame, {.ifindex = gateway.lan}) == "pass");
}

BOOST_AUTO_TEST_CASE(needs_a_policy) {
    const auto no_policy = [](Gateway& g) { g.forget_policy(PENSTOCK_ESP_USER); };
    check({{"IPv4", kToDevice / kReply / kTcpReply, "no_policy", no_policy},
           {"IPv6", kToDevice / kReply6 / kTcpReply, "no_policy", no_policy}});
}

BOOST_AUTO_TEST_CASE(passes_icmp_errors_about_known_flows_only) {
    const auto error = [](std::uint8_t type, const Packet& quoted) {
        return kToDevice / IPv4{"203.0.113.1", "10.20.0.12"} / Icmp{.type = type} / Payload{quote(quoted)};
    };
    const auto error6 = [](std::uint8_t type, const Packet& quoted) {
        return kToDevice / IPv6{"2001:db8:203::1", "fd20::12"} / Icmpv6{.type = type} / Payload{quote(quoted)};
    };
    check({{"unreachable", error(3, IPv4{} / Tcp{}), "pass"},
           {"time exceeded", error(11, IPv4{} / Udp{}), "pass"},
           {"parameter problem", error(12, IPv4{} / Tcp{}), "pass"},
           {"source quench", error(4, IPv4{} / Tcp{}), "no_flow"},
           {"another port", error(3, IPv4{} / Tcp{.source = 40001}), "no_flow"},
           {"another protocol", error(3, IPv4{} / Udp{.destination = 443}), "no_flow"},
           {"quotes the reply", error(3, kReply / kTcpReply), "no_flow"},
           {"quotes the other device", error(3, IPv4{.source = "10.20.0.13"} / Tcp{}), "no_flow"},
           {"quotes a ping", error(3, IPv4{} / Icmp{}), "no_flow"},
           {"quotes options", error(3, IPv4{.options = {1, 1, 1, 1}} / Tcp{}), "no_flow"},
           {"quotes a later fragment", error(3, IPv4{.fragment_offset = 3} / Tcp{}), "no_flow"},
           {"quotes IPv6", error(3, IPv6{} / Tcp{}), "no_flow"},
           {"quotes nothing", kToDevice / kReply / Icmp{.type = 3}, "no_flow"},
           {"ICMPv6 unreachable", error6(1, IPv6{} / Tcp{}), "pass"},
           {"ICMPv6 packet too big", error6(2, IPv6{} / Tcp{}), "pass"},
           {"ICMPv6 time exceeded", error6(3, IPv6{} / Udp{}), "pass"},
           {"ICMPv6 parameter problem", error6(4, IPv6{} / Tcp{}), "pass"},
           {"ICMPv6 redirect", error6(137, IPv6{} / Tcp{}), "no_flow"},
           {"ICMPv6, another port", error6(1, IPv6{} / Tcp{.source = 40001}), "no_flow"},
           {"ICMPv6, quotes the other device", error6(1, IPv6{.source = "fd20::13"} / Tcp{}), "no_flow"},
           {"ICMPv6 quotes nothing", kToDevice / kReply6 / Icmpv6{.type = 1}, "no_flow"},
           {"to the other device, quotes this one",
            Ethernet{} / IPv4{"203.0.113.1", "10.20.0.13"} / Icmp{.type = 3} / Payload{quote(IPv4{} / Tcp{})},
            "no_flow"}});
}

BOOST_AUTO_TEST_CASE(drops_every_truncation) {
    Asked gateway;
    for (const Bytes& whole :
         {Bytes(kToDevice / kReply / kTcpReply / Payload{}), Bytes(kToDevice / kReply6 / kUdpReply / Payload{}),
          Bytes(kToDevice / kReply / Icmp{.type = 3} / Payload{quote(IPv4{} / Tcp{})})}) {
        BOOST_TEST(gateway.to_device(whole) == "pass");
        for (std::size_t length = 15; length < whole.size(); length++) {
            const auto verdict =
                Gateway::truncated([&](const Bytes& frame) { return gateway.to_device(frame); }, whole, length);
            BOOST_TEST(verdict.value_or("malformed") == "malformed",
                       length << " of " << whole.size() << " bytes: " << *verdict);
        }
    }
}

BOOST_AUTO_TEST_CASE(counts_what_reached_the_device) {
    Asked gateway;
    const Bytes reply = kToDevice / kReply / kTcpReply;
    gateway.to_device(reply);
    gateway.to_device(kToDevice / kReply / Tcp{444, 40000});
    const auto device = gateway.counters.device(1);
    BOOST_TEST(device.in_packets == 1U);
    BOOST_TEST(device.in_bytes == reply.size());
    BOOST_TEST(device.dropped == 1U);
}

BOOST_AUTO_TEST_CASE(delivers_to_the_devices_own_mac_address_only) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv6{} / Tcp{}) == "pass");
    for (const char* to : {"02:00:00:00:00:13", "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff"}) {
        const Ethernet wrong{.destination = to};
        BOOST_TEST(gateway.to_device_as_is(wrong / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000}) ==
                   "mac_mismatch");
        BOOST_TEST(gateway.to_device_as_is(wrong / IPv6{"2001:db8:203::10", "fd20::12"} / Tcp{443, 40000}) ==
                   "mac_mismatch");
    }
    const Ethernet right{.destination = "02:00:00:00:00:12"};
    BOOST_TEST(gateway.to_device_as_is(right / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000, 0x12}) == "pass");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
