// What may leave on an uplink. BPF_PROG_TEST_RUN gives every packet a full socket; a packet without one is left to the
// suites with real traffic.
#include "tests/bpf/gateway.hpp"

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Ethernet kOut{.source = "02:00:00:00:00:a1", .destination = "02:00:00:00:00:a2"};
const IPv4 kToPeer{.source = "192.0.2.1", .destination = "192.0.2.2"};
const IPv6 kToPeer6{.source = "2001:db8:2::1", .destination = "2001:db8:2::2"};

struct Sent {
    const char* name;
    Packet packet;
    std::uint32_t mark;
    std::string verdict;
    std::function<void(Gateway&)> setup = {};
};

void check(const std::vector<Sent>& cases) {
    for (const auto& c : cases) {
        Gateway gateway;
        if (c.setup)
            c.setup(gateway);
        // Bits of the mark that are not ours say nothing.
        for (const std::uint32_t others : {0U, 0xc0000007U}) {
            const auto verdict = gateway.uplink(c.packet, c.mark | others);
            BOOST_TEST(verdict == c.verdict, c.name << ": " << verdict << ", expected " << c.verdict);
            BOOST_TEST(gateway.mark_after == (c.mark | others));
        }
    }
}

void kernel_esp(Gateway& gateway) { must(gateway.gate.set_flags({})); }
void open_egress(Gateway& gateway) { must(gateway.gate.set_flags({.host_egress_open = true})); }

Packet raw_ip(Layer ip, Layer next) { return Packet(std::move(ip)) / std::move(next); }

BOOST_AUTO_TEST_SUITE(uplink_egress, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(drops_everything_with_the_devices_mark) {
    check({{"TCP", kOut / IPv4{} / Tcp{}, kDeviceMark, "device_clear"},
           {"TCP over IPv6", kOut / IPv6{} / Tcp{}, kDeviceMark, "device_clear"},
           {"masqueraded", kOut / IPv4{"192.0.2.1", "203.0.113.10"} / Tcp{}, kDeviceMark, "device_clear"},
           {"ESP of a live SA", kOut / kToPeer / Esp{} / Payload{}, kDeviceMark, "device_clear"},
           {"IKE to the peer", kOut / kToPeer / Udp{500, 500} / Payload{}, kDeviceMark, "device_clear"},
           {"DHCP", kOut / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67}, kDeviceMark, "device_clear"},
           {"neighbour solicitation",
            kOut / IPv6{"2001:db8:2::1", "ff02::1:ff00:2", {}, 255} / neighbour_solicit("2001:db8:2::2"), kDeviceMark,
            "device_clear"},
           {"first fragment", kOut / IPv4{.more_fragments = true} / Tcp{}, kDeviceMark, "device_clear"},
           {"later fragment", kOut / IPv4{.fragment_offset = 8} / Payload{}, kDeviceMark, "device_clear"},
           {"with host_egress open", kOut / IPv4{"192.0.2.1", "198.51.100.1"} / Tcp{}, kDeviceMark, "device_clear",
            open_egress}});
}

BOOST_AUTO_TEST_CASE(drops_forwarded_packets_that_lost_their_mark) {
    Gateway gateway;
    for (const bool open : {false, true}) {
        must(gateway.gate.set_flags({.host_egress_open = open}));
        BOOST_TEST(gateway.uplink_forwarded(kOut / IPv4{} / Tcp{}) == "device_clear");
        BOOST_TEST(gateway.uplink_forwarded(kOut / IPv6{} / Tcp{}) == "device_clear");
        BOOST_TEST(gateway.uplink_forwarded(kOut / IPv4{"192.0.2.1", "198.51.100.1"} / Tcp{}) == "device_clear");
        BOOST_TEST(gateway.uplink_forwarded(kOut / IPv4{"192.0.2.1", "255.255.255.255"} / Udp{68, 67}) ==
                   "device_clear");
        BOOST_TEST(gateway.uplink_forwarded(kOut / IPv6{"2001:db8:2::1", "ff02::1:ff00:2", {}, 255} /
                                            neighbour_solicit("2001:db8:2::2")) == "device_clear");
        BOOST_TEST(gateway.uplink_forwarded(kOut / Arp{.sender = "192.0.2.1"}) == "source_address");
        BOOST_TEST(gateway.uplink_forwarded(kOut / kToPeer / Udp{500, 500}, kIkeMark) == "host_clear");
        BOOST_TEST(gateway.uplink_forwarded(kOut / kToPeer / Esp{} / Payload{}) == "esp_unknown_sa");
        // Encrypted by the kernel while it was forwarded.
        BOOST_TEST(gateway.uplink_forwarded(kOut / kToPeer / Esp{} / Payload{}, kEspMark) == "pass");
    }
}

BOOST_AUTO_TEST_CASE(passes_esp_of_a_known_sa_only) {
    const IPv4 elsewhere{"192.0.2.1", "192.0.2.3"};
    const IPv6 elsewhere6{"2001:db8:2::1", "2001:db8:2::3"};
    const auto remove = [](Gateway& g) {
        must(g.gate.remove_sa(address("192.0.2.2"), kSpi));
        must(g.gate.remove_sa(address("2001:db8:2::2"), kSpi));
    };
    check(
        {{"marked", kOut / kToPeer / Esp{} / Payload{}, kEspMark, "pass"},
         {"marked, IPv6", kOut / kToPeer6 / Esp{} / Payload{}, kEspMark, "pass"},
         {"without a mark", kOut / kToPeer / Esp{} / Payload{}, 0, "esp_unknown_sa"},
         {"without a mark, IPv6", kOut / kToPeer6 / Esp{} / Payload{}, 0, "esp_unknown_sa"},
         {"with the IKE sockets' mark", kOut / kToPeer / Esp{} / Payload{}, kIkeMark, "esp_unknown_sa"},
         {"unknown SPI", kOut / kToPeer / Esp{kSpi + 1} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"unknown SPI, IPv6", kOut / kToPeer6 / Esp{kSpi + 1} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"byte-swapped SPI", kOut / kToPeer / Esp{0x01eeffc0} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"SPI 0", kOut / kToPeer / Esp{0} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"other destination", kOut / elsewhere / Esp{} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"other destination, IPv6", kOut / elsewhere6 / Esp{} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"SA removed", kOut / kToPeer / Esp{} / Payload{}, kEspMark, "esp_unknown_sa", remove},
         {"SA removed, IPv6", kOut / kToPeer6 / Esp{} / Payload{}, kEspMark, "esp_unknown_sa", remove},
         {"no room for an SPI",
          kOut / IPv4{.source = "192.0.2.1", .destination = "192.0.2.2", .protocol = 50} / Payload{{1, 2, 3}}, kEspMark,
          "malformed"},
         {"the mark on TCP", kOut / kToPeer / Tcp{}, kEspMark, "host_clear"},
         {"the mark on AH", kOut / IPv4{.source = "192.0.2.1", .destination = "192.0.2.2", .protocol = 51} / Payload{},
          kEspMark, "host_clear"},
         {"options",
          kOut / IPv4{.source = "192.0.2.1", .destination = "192.0.2.2", .options = {1, 1, 1, 1}} / Esp{} / Payload{},
          kEspMark, "ip_options"},
         {"mapped addresses", kOut / IPv6{"::ffff:192.0.2.1", "::ffff:192.0.2.2"} / Esp{} / Payload{}, kEspMark,
          "malformed"}});
}

BOOST_AUTO_TEST_CASE(tells_sas_apart_that_share_a_place) {
    const auto other = kSpi + PENSTOCK_NEAR;
    Gateway gateway;
    const auto verdict = [&](std::uint32_t spi, const IPv4& ip) {
        return gateway.uplink(kOut / ip / Esp{spi} / Payload{}, kEspMark);
    };
    must(gateway.gate.add_sa(address("192.0.2.3"), other, 0));
    const IPv4 to_other{"192.0.2.1", "192.0.2.3"};
    BOOST_TEST(verdict(kSpi, kToPeer) == "pass");
    BOOST_TEST(verdict(other, to_other) == "pass");
    BOOST_TEST(verdict(kSpi, to_other) == "esp_unknown_sa");
    BOOST_TEST(verdict(other, kToPeer) == "esp_unknown_sa");
    must(gateway.gate.remove_sa(address("192.0.2.2"), kSpi));
    BOOST_TEST(verdict(kSpi, kToPeer) == "esp_unknown_sa");
    BOOST_TEST(verdict(other, to_other) == "pass");
    must(gateway.gate.remove_sa(address("192.0.2.3"), other));
    BOOST_TEST(verdict(other, to_other) == "esp_unknown_sa");
}

BOOST_AUTO_TEST_CASE(does_not_mistake_one_interface_for_another) {
    Gateway gateway;
    const auto verdict = [&] { return gateway.uplink(kOut / kToPeer / Esp{} / Payload{}, kEspMark); };
    BOOST_TEST(verdict() == "pass");
    must(gateway.gate.set_link(gateway.wan + PENSTOCK_NEAR, PENSTOCK_LINK_UPLINK, 14));
    BOOST_TEST(verdict() == "pass");
    must(gateway.gate.set_link(gateway.wan, PENSTOCK_LINK_OTHER, 14));
    BOOST_TEST(verdict() == "other_link");
    must(gateway.gate.set_link(gateway.wan, PENSTOCK_LINK_UPLINK, 14));
    gateway.gate.keep_links({gateway.lan});
    BOOST_TEST(verdict() == "other_link");
}

BOOST_AUTO_TEST_CASE(passes_udp_encapsulated_esp_of_a_known_sa_only) {
    check(
        {{"marked", kOut / kToPeer / Udp{4500, 4500} / Esp{} / Payload{}, kEspMark, "pass"},
         {"marked, IPv6", kOut / kToPeer6 / Udp{4500, 4500} / Esp{} / Payload{}, kEspMark, "pass"},
         {"peer behind NAT", kOut / kToPeer / Udp{4500, 61234} / Esp{} / Payload{}, kEspMark, "pass"},
         {"without a mark", kOut / kToPeer / Udp{4500, 4500} / Esp{} / Payload{}, 0, "host_clear"},
         {"unknown SPI", kOut / kToPeer / Udp{4500, 4500} / Esp{7} / Payload{}, kEspMark, "esp_unknown_sa"},
         {"non-ESP marker", kOut / kToPeer / Udp{4500, 4500} / Payload{{0, 0, 0, 0, 1, 2}}, kEspMark, "esp_unknown_sa"},
         {"other destination", kOut / IPv4{"192.0.2.1", "192.0.2.3"} / Udp{4500, 4500} / Esp{}, kEspMark,
          "esp_unknown_sa"},
         {"from another port", kOut / kToPeer / Udp{4501, 4500} / Esp{} / Payload{}, kEspMark, "host_clear"},
         {"no room for an SPI", kOut / kToPeer / Udp{4500, 4500} / Payload{{1, 2}}, kEspMark, "malformed"}});
}

BOOST_AUTO_TEST_CASE(passes_outer_fragments_of_esp_to_a_peer_only) {
    const Bytes later{0, 8, 0, 0, 0, 7}, first{0, 1, 0, 0, 0, 7};
    const IPv4 middle{.source = "192.0.2.1",
                      .destination = "192.0.2.2",
                      .protocol = 17,
                      .fragment_offset = 100,
                      .more_fragments = true};
    const IPv4 last{.source = "192.0.2.1", .destination = "192.0.2.2", .protocol = 50, .fragment_offset = 100};
    const IPv4 elsewhere{.source = "192.0.2.1", .destination = "192.0.2.3", .protocol = 50, .fragment_offset = 100};
    const IPv4 opening{.source = "192.0.2.1", .destination = "192.0.2.2", .more_fragments = true};
    const Packet later6 =
        kOut / kToPeer6 / Extension{.type = 44, .content = later, .next_header = std::uint8_t{50}} / Payload{};
    const Packet first6 = kOut / kToPeer6 / Extension{.type = 44, .content = first} / Esp{} / Payload{};
    check({{"middle", kOut / middle / Payload{}, kEspMark, "pass", kernel_esp},
           {"last", kOut / last / Payload{}, kEspMark, "pass", kernel_esp},
           {"IPv6, later", later6, kEspMark, "pass", kernel_esp},
           {"IPv6, first", first6, kEspMark, "pass", kernel_esp},
           {"without a mark", kOut / last / Payload{}, 0, "fragment", kernel_esp},
           {"IPv6, without a mark", later6, 0, "fragment", kernel_esp},
           {"IKE's, kernel ESP", kOut / middle / Payload{}, kIkeMark, "fragment", kernel_esp},
           {"elsewhere", kOut / elsewhere / Payload{}, kEspMark, "fragment", kernel_esp},
           {"userspace ESP", kOut / middle / Payload{}, kIkeMark, "pass"},
           {"userspace ESP, the kernel's mark", kOut / middle / Payload{}, kEspMark, "fragment"},
           {"userspace ESP, without a mark", kOut / middle / Payload{}, 0, "fragment"},
           {"first, known SPI", kOut / opening / Esp{} / Payload{}, kEspMark, "pass", kernel_esp},
           {"first, unknown SPI", kOut / opening / Esp{9} / Payload{}, kEspMark, "esp_unknown_sa", kernel_esp},
           {"first, without a mark", kOut / opening / Esp{} / Payload{}, 0, "esp_unknown_sa", kernel_esp},
           {"first of DHCP",
            kOut / IPv4{.source = "192.0.2.1", .destination = "192.0.2.2", .more_fragments = true} / Udp{68, 67}, 0,
            "host_clear", kernel_esp}});
}

BOOST_AUTO_TEST_CASE(passes_ike_between_the_uplink_and_a_peer_only) {
    const Bytes marker{0, 0, 0, 0, 1, 2, 3, 4};
    check(
        {{"IKE", kOut / kToPeer / Udp{500, 500} / Payload{}, kIkeMark, "pass"},
         {"IKE, IPv6", kOut / kToPeer6 / Udp{500, 500} / Payload{}, kIkeMark, "pass"},
         {"IKE on 4500", kOut / kToPeer / Udp{4500, 4500} / Payload{marker}, kIkeMark, "pass"},
         {"IKE to a peer behind NAT", kOut / kToPeer / Udp{4500, 61234} / Payload{marker}, kIkeMark, "pass"},
         {"keepalive", kOut / kToPeer / Udp{4500, 4500} / Payload{{0xff}}, kIkeMark, "pass"},
         {"userspace ESP", kOut / kToPeer / Udp{4500, 4500} / Esp{} / Payload{}, kIkeMark, "pass"},
         {"userspace ESP, unknown SPI", kOut / kToPeer / Udp{4500, 4500} / Esp{7} / Payload{}, kIkeMark,
          "esp_unknown_sa"},
         {"kernel ESP, a known SPI from the IKE socket", kOut / kToPeer / Udp{4500, 4500} / Esp{} / Payload{}, kIkeMark,
          "esp_unknown_sa", kernel_esp},
         {"without the mark", kOut / kToPeer / Udp{500, 500} / Payload{}, 0, "host_clear"},
         {"without the mark, 4500", kOut / kToPeer / Udp{4500, 4500} / Payload{marker}, 0, "host_clear"},
         {"with ESP's mark", kOut / kToPeer / Udp{500, 500} / Payload{}, kEspMark, "host_clear"},
         {"from another port", kOut / kToPeer / Udp{1500, 500} / Payload{}, kIkeMark, "host_clear"},
         {"to no peer", kOut / IPv4{"192.0.2.1", "192.0.2.3"} / Udp{500, 500} / Payload{}, kIkeMark, "host_clear"},
         {"to no peer, IPv6", kOut / IPv6{"2001:db8:2::1", "2001:db8:2::3"} / Udp{500, 500}, kIkeMark, "host_clear"},
         {"from another address", kOut / IPv4{"192.0.2.9", "192.0.2.2"} / Udp{500, 500}, kIkeMark, "source_address"},
         {"from the LAN's address", kOut / IPv4{"10.20.0.1", "192.0.2.2"} / Udp{500, 500}, kIkeMark, "source_address"},
         {"from a device's address", kOut / IPv4{"10.20.0.12", "192.0.2.2"} / Udp{500, 500}, kIkeMark,
          "source_address"},
         {"from another uplink's address", kOut / IPv4{"192.0.2.129", "192.0.2.2"} / Udp{500, 500}, kIkeMark,
          "source_address"},
         {"TCP", kOut / kToPeer / Tcp{.source = 500, .destination = 500}, kIkeMark, "host_clear"}});
}

BOOST_AUTO_TEST_CASE(passes_the_uplinks_own_arp_nd_mld_and_dhcp) {
    const auto nd = [](const std::string& from, Icmpv6 message, std::uint8_t hops = 255) {
        return kOut / IPv6{from, "ff02::1:ff00:2", {}, hops} / std::move(message);
    };
    const auto mld = [](const std::string& from, const std::string& to, std::uint8_t hops = 1) {
        return kOut / IPv6{from, to, {}, hops} / Extension{.type = 0} / Icmpv6{.type = 143} / Payload{Bytes(20, 0)};
    };
    const auto ask = neighbour_solicit("2001:db8:2::2");
    check(
        {{"ARP", kOut / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}, 0, "pass"},
         {"ARP probe", kOut / Arp{.sender = "0.0.0.0", .target = "192.0.2.1"}, 0, "pass"},
         {"ARP for another address", kOut / Arp{.sender = "192.0.2.9"}, 0, "source_address"},
         {"ARP for a device", kOut / Arp{.sender = "10.20.0.12"}, 0, "source_address"},
         {"ARP for the LAN's address", kOut / Arp{.sender = "10.20.0.1"}, 0, "source_address"},
         {"ARP that asks for a device", kOut / Arp{.sender = "192.0.2.1", .target = "10.20.0.12"}, 0, "device_clear"},
         {"ARP that asks for the LAN's address", kOut / Arp{.sender = "192.0.2.1", .target = "10.20.0.1"}, 0,
          "device_clear"},
         {"ARP that asks for a service", kOut / Arp{.sender = "192.0.2.1", .target = "203.0.113.10"}, 0,
          "device_clear"},
         {"ARP of other hardware", kOut / Arp{.sender = "192.0.2.1", .hardware = 6}, 0, "malformed"},
         {"solicitation", nd("2001:db8:2::1", ask), 0, "pass"},
         {"solicitation from link-local", nd("fe80::2", ask), 0, "pass"},
         {"DAD", nd("::", ask), 0, "pass"},
         {"solicitation of a device", nd("2001:db8:2::1", neighbour_solicit("fd20::12")), 0, "host_clear"},
         {"solicitation of a service", nd("2001:db8:2::1", neighbour_solicit("2001:db8:203::10")), 0, "host_clear"},
         {"advertisement", nd("2001:db8:2::1", neighbour_advert("2001:db8:2::1")), 0, "pass"},
         {"advertisement of a device", nd("2001:db8:2::1", neighbour_advert("fd20::12")), 0, "host_clear"},
         {"advertisement of a service", nd("2001:db8:2::1", neighbour_advert("2001:db8:203::10")), 0, "host_clear"},
         {"advertisement without a target", nd("2001:db8:2::1", Icmpv6{.type = 136}), 0, "host_clear"},
         {"router solicitation", nd("fe80::2", Icmpv6{.type = 133}), 0, "pass"},
         {"router advertisement", nd("fe80::2", Icmpv6{.type = 134}), 0, "host_clear"},
         {"redirect", nd("fe80::2", Icmpv6{.type = 137}), 0, "host_clear"},
         {"another's solicitation", nd("2001:db8:2::9", ask), 0, "host_clear"},
         {"a device's solicitation", nd("fd20::12", ask), 0, "host_clear"},
         {"solicitation with hop limit 64", nd("2001:db8:2::1", ask, 64), 0, "host_clear"},
         {"MLDv2", mld("fe80::2", "ff02::16"), 0, "pass"},
         {"MLDv2 with whatever mark", mld("fe80::2", "ff02::16"), kEspMark, "pass"},
         {"MLDv2 without an address yet", mld("::", "ff02::16"), 0, "pass"},
         {"another's MLDv2", mld("fe80::9", "ff02::16"), 0, "ip_options"},
         {"hop-by-hop to elsewhere", mld("fe80::2", "2001:db8::16"), 0, "ip_options"},
         {"hop-by-hop that travels", mld("fe80::2", "ff02::16", 64), 0, "ip_options"},
         {"DHCP without an address", kOut / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67} / Payload{}, 0, "pass"},
         {"DHCP renewal", kOut / IPv4{"192.0.2.1", "192.0.2.254"} / Udp{68, 67} / Payload{}, 0, "pass"},
         {"DHCP from a device's address", kOut / IPv4{"10.20.0.12", "255.255.255.255"} / Udp{68, 67}, 0, "host_clear"},
         {"DHCP from another port", kOut / IPv4{"192.0.2.1", "192.0.2.254"} / Udp{1068, 67}, 0, "host_clear"},
         {"DHCP server", kOut / IPv4{"192.0.2.1", "255.255.255.255"} / Udp{67, 68}, 0, "host_clear"},
         {"DHCPv6", kOut / IPv6{"fe80::2", "ff02::1:2"} / Udp{546, 547} / Payload{}, 0, "pass"},
         {"DHCPv6 to beyond the link", kOut / IPv6{"2001:db8:2::1", "2001:db8::547"} / Udp{546, 547}, 0, "host_clear"},
         {"another's DHCPv6", kOut / IPv6{"fe80::9", "ff02::1:2"} / Udp{546, 547}, 0, "host_clear"}});
}

BOOST_AUTO_TEST_CASE(drops_the_gateways_own_traffic_unless_host_egress_is_open) {
    const IPv4 world{"192.0.2.1", "198.51.100.1"};
    const IPv6 world6{"2001:db8:2::1", "2001:db8:999::1"};
    check({{"closed: TCP", kOut / world / Tcp{}, 0, "host_clear"},
           {"closed: DNS", kOut / world / Udp{40000, 53} / Payload{}, 0, "host_clear"},
           {"closed: ping", kOut / world / Icmp{}, 0, "host_clear"},
           {"closed: TCP over IPv6", kOut / world6 / Tcp{}, 0, "host_clear"},
           {"open: TCP", kOut / world / Tcp{}, 0, "pass", open_egress},
           {"open: UDP", kOut / world / Udp{40000, 53} / Payload{}, 0, "pass", open_egress},
           {"open: ping", kOut / world / Icmp{}, 0, "pass", open_egress},
           {"open: TCP over IPv6", kOut / world6 / Tcp{}, 0, "pass", open_egress},
           {"open: ping over IPv6", kOut / world6 / Icmpv6{}, 0, "pass", open_egress},
           {"open: echo reply", kOut / world / Icmp{.type = 0}, 0, "host_clear", open_egress},
           {"open: ICMP error", kOut / world / Icmp{.type = 3} / Payload{}, 0, "host_clear", open_egress},
           {"open: ICMPv6 error", kOut / world6 / Icmpv6{.type = 1} / Payload{}, 0, "host_clear", open_egress},
           {"open: from the LAN's address", kOut / IPv4{"10.20.0.1", "198.51.100.1"} / Tcp{}, 0, "host_clear",
            open_egress},
           {"open: from a device's address", kOut / IPv4{"10.20.0.12", "198.51.100.1"} / Tcp{}, 0, "host_clear",
            open_egress},
           {"open: into a tunnel's network", kOut / IPv4{"192.0.2.1", "203.0.113.10"} / Tcp{}, 0, "host_clear",
            open_egress},
           {"open: into a tunnel that is down", kOut / IPv4{"192.0.2.1", "203.0.114.1"} / Tcp{}, 0, "host_clear",
            open_egress},
           {"open: into a tunnel's network, IPv6", kOut / IPv6{"2001:db8:2::1", "2001:db8:203::10"} / Tcp{}, 0,
            "host_clear", open_egress},
           {"open: fragment",
            kOut / IPv4{.source = "192.0.2.1", .destination = "198.51.100.1", .more_fragments = true} / Udp{}, 0,
            "host_clear", open_egress},
           {"open: ESP", kOut / world / Esp{} / Payload{}, 0, "esp_unknown_sa", open_egress},
           {"open: GRE", kOut / IPv4{.source = "192.0.2.1", .destination = "198.51.100.1", .protocol = 47} / Payload{},
            0, "host_clear", open_egress}});
}

BOOST_AUTO_TEST_CASE(drops_other_ethertypes_and_vlan_tags) {
    for (const std::uint32_t mark : {0U, kEspMark, kIkeMark, kDeviceMark})
        check({{"VLAN", kOut / Vlan{} / kToPeer / Esp{} / Payload{}, mark, "vlan"},
               {"QinQ", kOut / Vlan{.tpid = 0x88a8} / kToPeer / Esp{} / Payload{}, mark, "vlan"},
               {"PPPoE", Ethernet{.type = 0x8864} / Payload{}, mark, "ethertype"},
               {"LLDP", Ethernet{.type = 0x88cc} / Payload{}, mark, "ethertype"},
               {"EAPOL", Ethernet{.type = 0x888e} / Payload{}, mark, "ethertype"},
               {"spanning tree", Ethernet{.type = 0x0026} / Payload{}, mark, "ethertype"},
               {"MPLS", Ethernet{.type = 0x8847} / Payload{}, mark, "ethertype"}});
}

BOOST_AUTO_TEST_CASE(lets_no_esp_out_once_the_witness_saw_a_frame_in_clear) {
    const auto latch = [](Gateway& gateway) { gateway.set_latch(1); };
    const auto kernel = [](Gateway& gateway) { kernel_esp(gateway), gateway.set_latch(1); };
    const IPv4 later{.source = "192.0.2.1", .destination = "192.0.2.2", .protocol = 50, .fragment_offset = 100};
    check({{"kernel ESP", kOut / kToPeer / Esp{} / Payload{}, kEspMark, "latched", kernel},
           {"in UDP", kOut / kToPeer6 / Udp{4500, 4500} / Esp{}, kEspMark, "latched", kernel},
           {"a fragment", kOut / later / Payload{}, kEspMark, "latched", kernel},
           {"ESP of user space", kOut / kToPeer / Udp{4500, 4500} / Esp{}, kIkeMark, "latched", latch},
           {"IKE", kOut / kToPeer / Udp{500, 500} / Payload{}, kIkeMark, "pass", latch},
           {"IKE at 4500", kOut / kToPeer / Udp{4500, 4500} / Payload{{0, 0, 0, 0, 1}}, kIkeMark, "pass", latch},
           {"ARP", kOut / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}, 0, "pass", latch},
           {"a device in clear", kOut / IPv4{} / Tcp{}, kDeviceMark, "device_clear", latch}});
}

BOOST_AUTO_TEST_CASE(judges_raw_ip_links_the_same) {
    Gateway gateway;
    const IPv4 own{"192.0.2.129", "192.0.2.2"};
    const IPv6 own6{"2001:db8:2::129", "2001:db8:2::2"};
    const auto raw = [&](const Bytes& packet, std::uint32_t mark) {
        return gateway.judge(datapath::Hook::uplink_egress, packet, {.ifindex = gateway.raw, .mark = mark});
    };
    BOOST_TEST(raw(raw_ip(own, Esp{}) / Payload{}, kEspMark) == "pass");
    BOOST_TEST(raw(raw_ip(own6, Esp{}) / Payload{}, kEspMark) == "pass");
    BOOST_TEST(raw(raw_ip(own, Udp{500, 500}) / Payload{}, kIkeMark) == "pass");
    BOOST_TEST(raw(raw_ip(own6, Udp{500, 500}) / Payload{}, kIkeMark) == "pass");
    BOOST_TEST(raw(raw_ip(own, Udp{4500, 4500}) / Esp{}, kIkeMark) == "pass");
    BOOST_TEST(raw(raw_ip(own, Udp{4500, 4500}) / Esp{4}, kIkeMark) == "esp_unknown_sa");
    BOOST_TEST(raw(raw_ip(own, Esp{}) / Payload{}, 0) == "esp_unknown_sa");
    BOOST_TEST(raw(raw_ip(own, Esp{3}) / Payload{}, kEspMark) == "esp_unknown_sa");
    BOOST_TEST(raw(raw_ip(own, Tcp{}), 0) == "host_clear");
    BOOST_TEST(raw(raw_ip(IPv4{}, Tcp{}), kDeviceMark) == "device_clear");
    BOOST_TEST(raw(raw_ip(IPv6{}, Tcp{}), kDeviceMark) == "device_clear");
    BOOST_TEST(raw(raw_ip(IPv4{"192.0.2.1", "192.0.2.2"}, Udp{500, 500}), kIkeMark) == "source_address");
    BOOST_TEST(raw(Bytes(40, 0), 0) == "malformed");
    BOOST_TEST(raw(Bytes(60, 0x55), kEspMark) == "malformed");
    BOOST_TEST(raw(kOut / own / Esp{} / Payload{}, kEspMark) == "malformed"); // an Ethernet header is no IP header
    const Bytes whole = raw_ip(own, Udp{500, 500}) / Payload{};
    for (std::size_t length = 15; length < whole.size(); length++)
        BOOST_TEST(raw(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)), kIkeMark) ==
                   "malformed");
}

BOOST_AUTO_TEST_CASE(drops_everything_on_an_interface_that_is_no_uplink) {
    Gateway gateway;
    const Bytes esp = kOut / kToPeer / Esp{} / Payload{};
    const auto on = [&](int ifindex) {
        return gateway.judge(datapath::Hook::uplink_egress, esp, {.ifindex = ifindex, .mark = kEspMark});
    };
    BOOST_TEST(on(gateway.wan) == "pass");
    BOOST_TEST(on(gateway.other) == "other_link");
    BOOST_TEST(on(gateway.lan) == "other_link");
    BOOST_TEST(on(gateway.tun) == "other_link");
    must(gateway.gate.set_link(gateway.other, PENSTOCK_LINK_OTHER, 14));
    BOOST_TEST(on(gateway.other) == "other_link");
    gateway.gate.keep_links({gateway.lan});
    BOOST_TEST(on(gateway.wan) == "other_link");
}

BOOST_AUTO_TEST_CASE(drops_every_truncation) {
    Gateway gateway;
    const std::pair<Bytes, std::uint32_t> frames[] = {
        {kOut / kToPeer / Esp{} / Payload{}, kEspMark},
        {kOut / kToPeer6 / Udp{4500, 4500} / Esp{} / Payload{}, kEspMark},
        {kOut / kToPeer / Udp{500, 500} / Payload{}, kIkeMark},
        {kOut / kToPeer6 / Udp{4500, 4500} / Payload{{0xff}}, kIkeMark},
        {kOut / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}, 0},
        {kOut / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67} / Payload{}, 0}};
    for (const auto& [whole, mark] : frames) {
        BOOST_TEST(gateway.uplink(whole, mark) == "pass");
        for (std::size_t length = 15; length < whole.size(); length++) {
            const auto verdict = Gateway::truncated(
                [&, &mark = mark](const Bytes& frame) { return gateway.uplink(frame, mark); }, whole, length);
            BOOST_TEST(verdict.value_or("malformed") == "malformed",
                       length << " of " << whole.size() << " bytes: " << *verdict);
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
