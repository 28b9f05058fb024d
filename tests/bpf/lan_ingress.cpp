// What devices may send into the gateway.
#include "agent/datapath/drop_events.hpp"
#include "tests/bpf/gateway.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Mac kBroadcast = "ff:ff:ff:ff:ff:ff";

void check(const std::vector<Case>& cases) {
    for (const auto& c : cases) {
        Gateway gateway;
        if (c.setup)
            c.setup(gateway);
        const auto verdict = gateway.from_device(c.packet);
        BOOST_TEST(verdict == c.verdict, c.name << ": " << verdict << ", expected " << c.verdict);
    }
}

BOOST_AUTO_TEST_SUITE(lan_ingress, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(passes_what_the_policy_allows) {
    check({{"TCP over IPv4", Ethernet{} / IPv4{} / Tcp{}, "pass"},
           {"UDP over IPv4", Ethernet{} / IPv4{} / Udp{} / Payload{}, "pass"},
           {"TCP over IPv6", Ethernet{} / IPv6{} / Tcp{}, "pass"},
           {"UDP over IPv6", Ethernet{} / IPv6{} / Udp{} / Payload{}, "pass"},
           {"UDP without payload", Ethernet{} / IPv4{} / Udp{}, "pass"},
           {"the other device", Ethernet{.source = "02:00:00:00:00:13"} / IPv4{.source = "10.20.0.13"} / Udp{}, "pass"},
           {"padded to Ethernet's 60 bytes", Ethernet{} / IPv4{.total_length = 28} / Udp{} / Payload{}, "pass"},
           {"1,400 bytes", Ethernet{} / IPv4{} / Tcp{} / Payload{Bytes(1400, 1)}, "pass"}});
}

BOOST_AUTO_TEST_CASE(overwrites_our_mark_bits_and_keeps_all_others) {
    Gateway gateway;
    for (const std::uint32_t mark : {0U, kDeviceMark, kEspMark, kIkeMark, 0xffffffffU, 0xcfffffffU, 0x00000007U}) {
        for (const Bytes& frame : {Bytes(Ethernet{} / IPv4{} / Tcp{}), Bytes(Ethernet{} / IPv6{} / Udp{}),
                                   Bytes(Ethernet{} / Arp{}), Bytes(Ethernet{} / IPv4{.source = "10.20.0.99"})}) {
            gateway.from_device(frame, mark);
            BOOST_TEST(gateway.mark_after == ((mark & ~kMask) | kDeviceMark));
        }
    }
}

BOOST_AUTO_TEST_CASE(drops_who_is_not_who_it_says) {
    const Mac stranger = "02:00:00:00:00:99", other = "02:00:00:00:00:13";
    check(
        {{"unknown device", Ethernet{.source = stranger} / IPv4{.source = "10.20.0.99"} / Tcp{}, "unknown_device"},
         {"unknown device, IPv6", Ethernet{.source = stranger} / IPv6{.source = "fd20::99"} / Tcp{}, "unknown_device"},
         {"unknown device's ARP", Ethernet{.source = stranger} / Arp{.sender_mac = stranger}, "unknown_device"},
         {"unknown device's ND",
          Ethernet{.source = stranger} / IPv6{.source = "fd20::99", .destination = "fd20::1", .hop_limit = 255} /
              neighbour_solicit("fd20::1"),
          "unknown_device"},
         {"another's address", Ethernet{.source = other} / IPv4{} / Tcp{}, "mac_mismatch"},
         {"another's address, IPv6", Ethernet{.source = other} / IPv6{} / Tcp{}, "mac_mismatch"},
         {"a stranger with a device's address", Ethernet{.source = stranger} / IPv4{} / Tcp{}, "mac_mismatch"},
         {"nobody's address", Ethernet{} / IPv4{.source = "10.20.0.99"} / Tcp{}, "address_mismatch"},
         {"nobody's address, IPv6", Ethernet{} / IPv6{.source = "fd20::99"} / Tcp{}, "address_mismatch"},
         {"the gateway's address", Ethernet{} / IPv4{.source = "10.20.0.1"} / Tcp{}, "address_mismatch"},
         {"no address", Ethernet{} / IPv4{.source = "0.0.0.0"} / Udp{68, 67}, "address_mismatch"}});
}

// ::ffff:10.20.0.12 is the map key of 10.20.0.12, but no address that may be on a wire (RFC 4291, 2.5.5.2).
BOOST_AUTO_TEST_CASE(drops_ipv6_with_mapped_addresses) {
    check(
        {{"both mapped", Ethernet{} / IPv6{.source = "::ffff:10.20.0.12", .destination = "::ffff:203.0.113.10"} / Tcp{},
          "malformed"},
         {"source mapped", Ethernet{} / IPv6{.source = "::ffff:10.20.0.12"} / Tcp{}, "malformed"},
         {"destination mapped", Ethernet{} / IPv6{.destination = "::ffff:203.0.113.10"} / Tcp{}, "malformed"}});
}

BOOST_AUTO_TEST_CASE(drops_vlan_tags_and_other_ethertypes) {
    check({{"802.1Q", Ethernet{} / Vlan{} / IPv4{} / Tcp{}, "vlan"},
           {"802.1ad", Ethernet{} / Vlan{.tpid = 0x88a8} / IPv4{} / Tcp{}, "vlan"},
           {"EAPOL", Ethernet{.type = 0x888e} / Payload{}, "ethertype"},
           {"LLDP", Ethernet{.type = 0x88cc} / Payload{}, "ethertype"},
           {"PPPoE", Ethernet{.type = 0x8864} / Payload{}, "ethertype"},
           {"802.3 with LLC", Ethernet{.type = 0x0026} / Payload{}, "ethertype"},
           {"IPv4 that says it is IPv6", Ethernet{.type = 0x86dd} / IPv4{} / Tcp{} / Payload{}, "malformed"},
           {"IPv6 that says it is IPv4", Ethernet{.type = 0x0800} / IPv6{} / Tcp{}, "malformed"}});
}

// BPF_PROG_TEST_RUN wants more than an Ethernet header.
BOOST_AUTO_TEST_CASE(drops_every_truncation) {
    Gateway gateway;
    for (const Bytes& whole :
         {Bytes(Ethernet{} / IPv4{} / Tcp{} / Payload{}), Bytes(Ethernet{} / IPv4{} / Udp{} / Payload{}),
          Bytes(Ethernet{} / IPv6{} / Tcp{} / Payload{}), Bytes(Ethernet{} / IPv6{} / Udp{} / Payload{}),
          Bytes(Ethernet{} / Arp{}),
          Bytes(Ethernet{} / IPv6{.destination = "fe80::1", .hop_limit = 255} / neighbour_advert("fd20::12"))}) {
        BOOST_TEST(gateway.from_device(whole) == "pass");
        for (std::size_t length = 15; length < whole.size(); length++) {
            const auto verdict =
                Gateway::truncated([&](const Bytes& frame) { return gateway.from_device(frame); }, whole, length);
            BOOST_TEST(verdict.value_or("malformed") == "malformed",
                       length << " of " << whole.size() << " bytes: " << *verdict);
        }
    }
}

BOOST_AUTO_TEST_CASE(drops_contradictory_lengths) {
    check({{"IPv4 longer than the frame", Ethernet{} / IPv4{.total_length = 41} / Tcp{}, "malformed"},
           {"IPv4 shorter than its header", Ethernet{} / IPv4{.total_length = 19} / Tcp{}, "malformed"},
           {"IPv4 of 0 bytes", Ethernet{} / IPv4{.total_length = 0} / Tcp{}, "malformed"},
           {"TCP header in the padding", Ethernet{} / IPv4{.total_length = 20} / Tcp{}, "malformed"},
           {"TCP header's end in the padding", Ethernet{} / IPv4{.total_length = 39} / Tcp{}, "malformed"},
           {"UDP header in the padding", Ethernet{} / IPv4{.total_length = 27} / Udp{}, "malformed"},
           {"IPv6 longer than the frame", Ethernet{} / IPv6{.payload_length = 21} / Tcp{}, "malformed"},
           {"IPv6 without payload, TCP behind it", Ethernet{} / IPv6{.payload_length = 0} / Tcp{}, "malformed"},
           {"IPv6, UDP header's end in the padding", Ethernet{} / IPv6{.payload_length = 7} / Udp{}, "malformed"}});
}

BOOST_AUTO_TEST_CASE(drops_fragments_options_and_extension_headers) {
    Bytes fragment_first{0, 1, 0, 0, 0, 7}, fragment_later{0, 8, 0, 0, 0, 7};
    const auto behind = [](std::uint8_t type) {
        return Ethernet{} / IPv6{} / Extension{.type = type, .next_header = std::uint8_t{6}} / Tcp{};
    };
    check({{"first fragment", Ethernet{} / IPv4{.more_fragments = true} / Tcp{}, "fragment"},
           {"middle fragment", Ethernet{} / IPv4{.fragment_offset = 1, .more_fragments = true} / Tcp{}, "fragment"},
           {"last fragment", Ethernet{} / IPv4{.protocol = 17, .fragment_offset = 100} / Payload{}, "fragment"},
           {"tiny last fragment", Ethernet{} / IPv4{.protocol = 6, .fragment_offset = 1} / Payload{{1}}, "fragment"},
           {"IPv6, first", Ethernet{} / IPv6{} / Extension{.type = 44, .content = fragment_first} / Tcp{}, "fragment"},
           {"IPv6, later", Ethernet{} / IPv6{} / Extension{.type = 44, .content = fragment_later} / Tcp{}, "fragment"},
           {"IPv6, atomic", Ethernet{} / IPv6{} / Extension{.type = 44, .content = Bytes(6, 0)} / Tcp{}, "pass"},
           {"router alert", Ethernet{} / IPv4{.options = {0x94, 4, 0, 0}} / Tcp{}, "ip_options"},
           {"source route", Ethernet{} / IPv4{.options = {0x83, 7, 4, 10, 20, 0, 1, 0}} / Tcp{}, "ip_options"},
           {"hop-by-hop", behind(0), "pass"},
           {"routing", behind(43), "ip_options"},
           {"authentication", behind(51), "ip_options"},
           {"destination options", behind(60), "pass"},
           {"no next header", Ethernet{} / IPv6{.next_header = 59} / Tcp{}, "ip_options"},
           {"shim6, unknown here", behind(140), "not_allowed"}});
}

BOOST_AUTO_TEST_CASE(drops_multicast_and_broadcast) {
    check(
        {{"limited broadcast", Ethernet{.destination = kBroadcast} / IPv4{.destination = "255.255.255.255"} / Udp{},
          "multicast"},
         {"mDNS", Ethernet{.destination = "01:00:5e:00:00:fb"} / IPv4{.destination = "224.0.0.251"} / Udp{5353, 5353},
          "multicast"},
         {"class E", Ethernet{} / IPv4{.destination = "240.0.0.1"} / Udp{}, "multicast"},
         {"0.0.0.0", Ethernet{} / IPv4{.destination = "0.0.0.0"} / Udp{}, "multicast"},
         {"IPv6 multicast", Ethernet{.destination = "33:33:00:00:00:fb"} / IPv6{.destination = "ff02::fb"} / Udp{},
          "multicast"},
         {"an allowed address in a broadcast frame", Ethernet{.destination = kBroadcast} / IPv4{} / Tcp{}, "multicast"},
         {"an allowed address in a multicast frame", Ethernet{.destination = "33:33:00:00:00:01"} / IPv6{} / Tcp{},
          "multicast"}});
}

BOOST_AUTO_TEST_CASE(drops_what_no_rule_allows) {
    check({{"other port", Ethernet{} / IPv4{} / Tcp{.destination = 80}, "not_allowed"},
           {"other protocol on the port", Ethernet{} / IPv4{} / Udp{.destination = 443}, "not_allowed"},
           {"other destination", Ethernet{} / IPv4{.destination = "198.18.0.1"} / Tcp{}, "not_allowed"},
           {"IPv6, other port", Ethernet{} / IPv6{} / Tcp{.destination = 80}, "not_allowed"},
           {"IPv6, other destination", Ethernet{} / IPv6{.destination = "2001:db8:999::1"} / Tcp{}, "not_allowed"},
           {"the gateway", Ethernet{} / IPv4{.destination = "10.20.0.1"} / Tcp{.destination = 22}, "not_allowed"},
           {"the other device", Ethernet{} / IPv4{.destination = "10.20.0.13"} / Tcp{}, "not_allowed"},
           {"echo request", Ethernet{} / IPv4{} / Icmp{}, "not_allowed"},
           {"ICMPv6 echo request", Ethernet{} / IPv6{} / Icmpv6{}, "not_allowed"},
           {"ICMP error", Ethernet{} / IPv4{} / Icmp{.type = 3} / Payload{}, "not_allowed"},
           {"forged ESP to the peer", Ethernet{} / IPv4{.destination = "192.0.2.2"} / Esp{} / Payload{}, "not_allowed"},
           {"forged NAT-T to the peer",
            Ethernet{} / IPv4{.destination = "192.0.2.2"} / Udp{4500, 4500} / Esp{} / Payload{}, "not_allowed"},
           {"IP in IP", Ethernet{} / IPv4{} / IPv4{} / Tcp{}, "not_allowed"},
           {"SCTP", Ethernet{} / IPv4{.protocol = 132} / Payload{}, "not_allowed"}});
}

BOOST_AUTO_TEST_CASE(needs_a_policy_and_a_tunnel_that_is_up) {
    const auto no_policy = [](Gateway& g) { g.forget_policy(0); };
    const auto up = [](Gateway& g) { must(g.gate.set_tunnel(1, true)); };
    const auto down = [](Gateway& g) { must(g.gate.set_tunnel(0, false)); };
    const auto no_networks = [](Gateway& g) { must(g.gate.set_remote_networks({})); };
    check({{"no policy", Ethernet{} / IPv4{} / Tcp{}, "no_policy", no_policy},
           {"no policy, IPv6", Ethernet{} / IPv6{} / Tcp{}, "no_policy", no_policy},
           {"no policy, ARP", Ethernet{} / Arp{}, "no_policy", no_policy},
           {"no tunnel covers it", Ethernet{} / IPv4{.destination = "198.51.100.1"} / Tcp{}, "no_tunnel"},
           {"no tunnel covers it, IPv6", Ethernet{} / IPv6{.destination = "2001:db8:bad::1"} / Tcp{}, "no_tunnel"},
           {"no tunnel at all", Ethernet{} / IPv4{} / Tcp{}, "no_tunnel", no_networks},
           {"its tunnel is down", Ethernet{} / IPv4{.destination = "203.0.114.1"} / Tcp{}, "tunnel_down"},
           {"its tunnel is down, IPv6", Ethernet{} / IPv6{.destination = "2001:db8:204::1"} / Tcp{}, "tunnel_down"},
           {"its tunnel came up", Ethernet{} / IPv4{.destination = "203.0.114.1"} / Tcp{}, "pass", up},
           {"its tunnel went down", Ethernet{} / IPv4{} / Tcp{}, "tunnel_down", down}});
}

BOOST_AUTO_TEST_CASE(stops_an_established_flow_when_its_tunnel_goes_down) {
    Gateway gateway;
    const Bytes frame = Ethernet{} / IPv4{} / Tcp{};
    BOOST_TEST(gateway.from_device(frame) == "pass");
    must(gateway.gate.set_tunnel(0, false));
    BOOST_TEST(gateway.from_device(frame) == "tunnel_down");
    must(gateway.gate.set_tunnel(0, true));
    BOOST_TEST(gateway.from_device(frame) == "pass");
}

BOOST_AUTO_TEST_CASE(lets_devices_speak_arp_for_themselves_only) {
    const auto arp = [](Arp body) { return Ethernet{.destination = kBroadcast} / std::move(body); };
    check(
        {{"request", arp({}), "pass"},
         {"reply", Ethernet{} / Arp{.operation = 2}, "pass"},
         {"probe (RFC 5227)", arp({.sender = "0.0.0.0", .target = "10.20.0.12"}), "pass"},
         {"announcement", arp({.target = "10.20.0.12"}), "pass"},
         {"for the gateway", arp({.operation = 2, .sender = "10.20.0.1"}), "arp_forged"},
         {"for the other device", arp({.sender = "10.20.0.13"}), "arp_forged"},
         {"for an address nobody has", arp({.sender = "10.20.0.99"}), "arp_forged"},
         {"with another MAC inside", arp({.sender_mac = "02:00:00:00:00:13"}), "arp_forged"},
         {"probe with another MAC inside", arp({.sender_mac = "02:00:00:00:00:13", .sender = "0.0.0.0"}), "arp_forged"},
         {"for hardware other than Ethernet", arp({.hardware = 6}), "malformed"}});
}

BOOST_AUTO_TEST_CASE(lets_devices_speak_nd_for_themselves_only) {
    const auto nd = [](const std::string& from, const std::string& to, Icmpv6 message, std::uint8_t hops = 255) {
        return Ethernet{} / IPv6{.source = from, .destination = to, .hop_limit = hops} / std::move(message);
    };
    const Icmpv6 router_solicit{.type = 133}, router_advert{.type = 134, .rest = Bytes(12, 0)};
    check(
        {{"solicits the gateway", nd("fd20::12", "ff02::1:ff00:1", neighbour_solicit("fd20::1")), "pass"},
         {"from a link-local address", nd("fe80::12", "ff02::1:ff00:1", neighbour_solicit("fe80::1")), "pass"},
         {"to the gateway's address", nd("fd20::12", "fd20::1", neighbour_solicit("fd20::1")), "pass"},
         {"duplicate address detection", nd("::", "ff02::1:ff00:12", neighbour_solicit("fd20::12")), "pass"},
         {"solicits routers", nd("fe80::12", "ff02::2", router_solicit), "pass"},
         {"advertises itself", nd("fd20::12", "fd20::1", neighbour_advert("fd20::12")), "pass"},
         {"advertises its link-local address", nd("fe80::12", "fe80::1", neighbour_advert("fe80::12")), "pass"},
         {"from the other device's address", nd("fd20::13", "fd20::1", neighbour_solicit("fd20::1")), "arp_forged"},
         {"from nobody's address", nd("fd20::99", "fd20::1", neighbour_solicit("fd20::1")), "arp_forged"},
         {"advertises the other device", nd("fd20::12", "fd20::1", neighbour_advert("fd20::13")), "arp_forged"},
         {"advertises the gateway", nd("fe80::12", "ff02::1", neighbour_advert("fd20::1")), "arp_forged"},
         {"to beyond the link", nd("fd20::12", "2001:db8:203::10", neighbour_solicit("2001:db8:203::10")), "multicast"},
         {"to the other device", nd("fd20::12", "fd20::13", neighbour_solicit("fd20::13")), "multicast"},
         {"to multicast beyond the link", nd("fd20::12", "ff05::2", neighbour_solicit("fd20::1")), "multicast"},
         {"hop limit 254", nd("fd20::12", "fd20::1", neighbour_solicit("fd20::1"), 254), "not_allowed"},
         {"advertises a router", nd("fe80::12", "fd20::1", router_advert), "address_mismatch"},
         {"advertises a router from its address", nd("fd20::12", "fd20::1", router_advert), "not_allowed"}});
}

BOOST_AUTO_TEST_CASE(counts_traffic_and_drops_of_the_device) {
    Gateway gateway;
    const Bytes good = Ethernet{} / IPv4{} / Tcp{}, bad = Ethernet{} / IPv4{} / Tcp{.destination = 80};
    gateway.from_device(good);
    gateway.from_device(good);
    gateway.from_device(bad);
    const auto device = gateway.counters.device(1);
    BOOST_TEST(device.out_packets == 2U);
    BOOST_TEST(device.out_bytes == 2 * good.size());
    BOOST_TEST(device.dropped == 1U);
    BOOST_TEST(device.last_seen_ns > 0U);
    BOOST_TEST(gateway.counters.device(2).out_packets == 0U);
    BOOST_TEST(gateway.counters.device(2).dropped == 0U);
}

// 12 learns its addresses, with these; 13 lists its own.
void let_learn(Gateway& gateway, const std::vector<std::string>& learnt) {
    auto tables = Gateway::policy();
    auto& device = tables.devices.front();
    device.learns = true;
    device.addresses.clear();
    for (const auto& one : learnt)
        device.addresses.push_back(address(one));
    gateway.enforce(tables);
}

BOOST_AUTO_TEST_CASE(a_device_that_learns_may_claim_what_nobody_has) {
    const IPv6 neighbour{.source = "fd20::7", .destination = "fe80::1", .hop_limit = 255};
    const IPv6 local{.source = "fe80::12", .destination = "fe80::1", .hop_limit = 255};
    const auto learning = [](Gateway& gateway) { let_learn(gateway, {"10.20.0.12"}); };
    check({{"ARP with a new address", Ethernet{} / Arp{.sender = "10.20.0.7"}, "not_learnt", learning},
           {"a packet from it", Ethernet{} / IPv4{.source = "10.20.0.7"} / Tcp{}, "not_learnt", learning},
           {"a packet over IPv6", Ethernet{} / IPv6{.source = "fd20::7"} / Tcp{}, "not_learnt", learning},
           {"a solicitation", Ethernet{} / neighbour / neighbour_solicit("fe80::1"), "not_learnt", learning},
           {"an advertisement", Ethernet{} / local / neighbour_advert("fd20::7"), "not_learnt", learning},
           {"what it has", Ethernet{} / Arp{}, "pass", learning},
           {"a packet from what it has", Ethernet{} / IPv4{} / Tcp{}, "pass", learning},
           {"its link-local address", Ethernet{} / local / neighbour_advert("fe80::12"), "pass", learning},
           {"another's address in ARP", Ethernet{} / Arp{.sender = "10.20.0.13"}, "arp_forged", learning},
           {"another's address", Ethernet{} / IPv4{.source = "10.20.0.13"} / Tcp{}, "mac_mismatch", learning},
           {"another's address in ND", Ethernet{} / local / neighbour_advert("fd20::13"), "arp_forged", learning},
           {"somebody else's MAC in ARP", Ethernet{} / Arp{.sender_mac = "02:00:00:00:00:13", .sender = "10.20.0.7"},
            "arp_forged", learning},
           {"one that does not learn", Ethernet{.source = "02:00:00:00:00:13"} / IPv4{.source = "10.20.0.7"} / Udp{},
            "address_mismatch", learning}});
}

// However often it is said, and whoever else makes noise: a device's own claim is told, and not too often.
BOOST_AUTO_TEST_CASE(tells_of_a_claim_once_a_device_in_a_while) {
    Gateway gateway(Gateway::Maps::own);
    let_learn(gateway, {});
    std::vector<datapath::Drop> events;
    auto reader = must(datapath::DropEvents::make(gateway.programs, [&](const auto& e) { events.push_back(e); }));
    for (int i = 0; i < 3; i++)
        gateway.from_device(Ethernet{.source = "02:00:00:00:00:99"} / IPv4{.source = "10.20.0.99"} / Tcp{});
    for (int i = 0; i < 3; i++)
        gateway.from_device(Ethernet{} / IPv6{.source = "fe80::12", .destination = "fe80::1", .hop_limit = 255} /
                            neighbour_advert("fd20::7"));
    reader.read();
    std::erase_if(events, [](const auto& e) { return e.reason != "not_learnt"; });
    BOOST_REQUIRE(events.size() == 1U);
    BOOST_TEST(events.front().source.str() == "fd20::7");
    BOOST_TEST(events.front().slot.value() == 1U);
    BOOST_TEST(events.front().ifindex == gateway.lan);
}

BOOST_AUTO_TEST_CASE(an_address_is_in_use_while_it_has_a_flow) {
    Gateway gateway;
    using std::chrono::seconds;
    gateway.enforce(Gateway::policy());
    BOOST_TEST(!gateway.store.used_within(address("10.20.0.12"), seconds(3600)));
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
    BOOST_TEST(gateway.store.used_within(address("10.20.0.12"), seconds(3600)));
    BOOST_TEST(!gateway.store.used_within(address("fd20::12"), seconds(3600)));
    BOOST_TEST(!gateway.store.used_within(address("10.20.0.13"), seconds(3600)));
    BOOST_TEST(!gateway.store.used_within(address("10.20.0.99"), seconds(3600)));
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv6{} / Tcp{}) == "pass");
    BOOST_TEST(gateway.store.used_within(address("fd20::12"), seconds(3600)));
}

BOOST_AUTO_TEST_CASE(tells_of_a_drop) {
    Gateway gateway(Gateway::Maps::own);
    std::vector<datapath::Drop> events;
    auto reader = must(datapath::DropEvents::make(gateway.programs, [&](const auto& e) { events.push_back(e); }));
    gateway.from_device(Ethernet{} / IPv6{} / Tcp{.destination = 80});
    reader.read();
    BOOST_REQUIRE(events.size() == 1U);
    const auto& e = events.front();
    BOOST_TEST(e.source.str() == "fd20::12");
    BOOST_TEST(e.destination.str() == "2001:db8:203::10");
    BOOST_TEST(e.source_port == 40000);
    BOOST_TEST(e.destination_port == 80);
    BOOST_TEST(e.proto == IPPROTO_TCP);
    BOOST_TEST(e.reason == "not_allowed");
    BOOST_TEST(e.hook == "lan_ingress");
    BOOST_TEST(e.ifindex == gateway.lan);
    BOOST_TEST(e.slot.value() == 1U);
    BOOST_TEST(e.mac.str() == "02:00:00:00:00:12");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
