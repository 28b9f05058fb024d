// What may come in from an uplink in clear. That a decrypted packet passes is for the suites with a kernel that
// decrypts.
#include "tests/bpf/gateway.hpp"

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Ethernet kIn{.source = "02:00:00:00:00:a2", .destination = "02:00:00:00:00:a1"};
const char *const kOwn = "192.0.2.1", *const kOwn6 = "2001:db8:2::1";

struct Received {
    const char* name;
    Packet packet;
    std::string verdict;
};

void check(const std::vector<Received>& cases) {
    for (const auto& c : cases) {
        Gateway gateway;
        for (const bool user_esp : {true, false}) {
            must(gateway.gate.set_flags({.esp_in_user_space = user_esp}));
            const auto verdict = gateway.from_uplink(c.packet);
            BOOST_TEST(verdict == c.verdict, c.name << ": " << verdict << ", expected " << c.verdict);
        }
    }
}

BOOST_AUTO_TEST_SUITE(uplink_ingress, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(drops_whoever_speaks_for_a_device_or_a_service) {
    for (const char* source : {"10.20.0.12", "10.20.0.13", "10.20.0.99", "10.20.0.1", "203.0.113.10", "203.0.114.1"})
        check({{source, kIn / IPv4{source, kOwn} / Udp{}, "uplink_clear"},
               {source, kIn / IPv4{source, kOwn} / Tcp{}, "uplink_clear"},
               {source, kIn / IPv4{source, kOwn} / Icmp{}, "uplink_clear"},
               {source, kIn / IPv4{.source = source, .destination = kOwn, .options = {1, 1, 1, 1}} / Udp{},
                "uplink_clear"},
               {source, kIn / IPv4{source, kOwn} / Esp{}, "uplink_clear"},
               {source, kIn / IPv4{source, "255.255.255.255"} / Udp{67, 68}, "uplink_clear"}});
    for (const char* source : {"fd20::12", "fd20::99", "fd20::1", "2001:db8:203::10", "2001:db8:204::1"})
        check({{source, kIn / IPv6{source, kOwn6} / Udp{}, "uplink_clear"},
               {source, kIn / IPv6{source, kOwn6} / Tcp{}, "uplink_clear"},
               {source, kIn / IPv6{source, kOwn6} / Icmpv6{}, "uplink_clear"},
               {source, kIn / IPv6{source, kOwn6} / Extension{} / Udp{}, "uplink_clear"},
               {source, kIn / IPv6{source, kOwn6} / Esp{}, "uplink_clear"},
               {source, kIn / IPv6{source, "ff02::1", {}, 255} / neighbour_advert("fe80::2"), "uplink_clear"}});
}

BOOST_AUTO_TEST_CASE(drops_what_is_sent_to_a_device) {
    check({{"TCP", kIn / IPv4{"198.51.100.9", "10.20.0.12"} / Tcp{}, "uplink_clear"},
           {"the gateway's LAN address", kIn / IPv4{"198.51.100.9", "10.20.0.1"} / Tcp{}, "uplink_clear"},
           {"ESP of the peer", kIn / IPv4{"192.0.2.2", "10.20.0.12"} / Esp{}, "uplink_clear"},
           {"a service's address", kIn / IPv4{"198.51.100.9", "203.0.113.10"} / Tcp{}, "uplink_clear"},
           {"TCP over IPv6", kIn / IPv6{"2001:db8:9::9", "fd20::12"} / Tcp{}, "uplink_clear"},
           {"echo over IPv6", kIn / IPv6{"2001:db8:9::9", "fd20::1"} / Icmpv6{}, "uplink_clear"}});
}

BOOST_AUTO_TEST_CASE(drops_every_fragment) {
    const Bytes first{0, 1, 0, 0, 0, 7}, later{0, 8, 0, 0, 0, 7};
    IPv4 one{"10.20.0.12", kOwn, 17};
    one.more_fragments = true;
    IPv4 two{"10.20.0.12", kOwn, 17};
    two.fragment_offset = 100;
    check({{"first", kIn / one / Udp{} / Payload{}, "uplink_clear"},
           {"later", kIn / two / Payload{}, "uplink_clear"},
           {"first, IPv6", kIn / IPv6{"fd20::12", kOwn6} / Extension{.type = 44, .content = first} / Udp{},
            "uplink_clear"},
           {"later, IPv6",
            kIn / IPv6{"fd20::12", kOwn6} / Extension{.type = 44, .content = later, .next_header = std::uint8_t{17}} /
                Payload{},
            "uplink_clear"}});
}

BOOST_AUTO_TEST_CASE(drops_a_device_that_is_in_no_network_of_the_configuration) {
    Gateway gateway;
    auto tables = Gateway::policy();
    tables.devices[0].addresses.push_back(address("172.16.5.5"));
    const Bytes forged = kIn / IPv4{"172.16.5.5", kOwn} / Udp{};
    BOOST_TEST(gateway.from_uplink(forged) == "pass");
    gateway.enforce(tables);
    BOOST_TEST(gateway.from_uplink(forged) == "uplink_clear");
}

BOOST_AUTO_TEST_CASE(drops_arp_and_discovery_for_such_addresses) {
    const auto arp = [](const char* sender, const char* target) -> Packet {
        return kIn / Arp{.sender_mac = "02:00:00:00:00:a2", .sender = sender, .target = target};
    };
    const IPv6 nearby{"fe80::a2", "fe80::2", {}, 255};
    Bytes redirect(4, 0), redirect_to(4, 0);
    put(redirect, ip_bytes("fd20::12")), put(redirect, ip_bytes("2001:db8:9::9"));
    put(redirect_to, ip_bytes("fe80::a2")), put(redirect_to, ip_bytes("2001:db8:203::10"));
    check(
        {{"who has the gateway's LAN address", arp("192.0.2.2", "10.20.0.1"), "uplink_neighbour"},
         {"who has a device", arp("192.0.2.2", "10.20.0.12"), "uplink_neighbour"},
         {"a device asks", arp("10.20.0.12", "192.0.2.1"), "uplink_neighbour"},
         {"a service announces itself", arp("203.0.113.10", "203.0.113.10"), "uplink_neighbour"},
         {"a neighbour asks", arp("192.0.2.2", "192.0.2.1"), "pass"},
         {"a probe", arp("0.0.0.0", "192.0.2.7"), "pass"},
         {"solicitation of a device", kIn / nearby / neighbour_solicit("fd20::12"), "uplink_neighbour"},
         {"solicitation of the gateway's LAN address", kIn / nearby / neighbour_solicit("fd20::1"), "uplink_neighbour"},
         {"advertisement of a device", kIn / nearby / neighbour_advert("fd20::12"), "uplink_neighbour"},
         {"advertisement of a service", kIn / nearby / neighbour_advert("2001:db8:203::10"), "uplink_neighbour"},
         {"redirect to a device", kIn / nearby / Icmpv6{.type = 137, .rest = redirect}, "uplink_neighbour"},
         {"redirect of a service", kIn / nearby / Icmpv6{.type = 137, .rest = redirect_to}, "uplink_neighbour"},
         {"cut off", kIn / nearby / Icmpv6{.type = 135, .rest = {0, 0, 0, 0, 1, 2, 3}}, "malformed"},
         {"a neighbour's solicitation", kIn / nearby / neighbour_solicit("fe80::2"), "pass"}});
}

BOOST_AUTO_TEST_CASE(leaves_alone_what_concerns_the_uplink_itself) {
    check({{"ESP of the peer", kIn / IPv4{"192.0.2.2", kOwn} / Esp{} / Payload{}, "pass"},
           {"ESP in UDP", kIn / IPv4{"192.0.2.2", kOwn} / Udp{4500, 4500} / Esp{}, "pass"},
           {"IKE", kIn / IPv6{"2001:db8:2::2", kOwn6} / Udp{500, 500} / Payload{}, "pass"},
           {"fragment of ESP",
            kIn / IPv4{.source = "192.0.2.2", .destination = kOwn, .protocol = 50, .fragment_offset = 9} / Payload{},
            "pass"},
           {"DHCP", kIn / IPv4{"192.0.2.2", "255.255.255.255"} / Udp{67, 68}, "pass"},
           {"path MTU", kIn / IPv4{"198.51.100.9", kOwn} / Icmp{.type = 3, .code = 4}, "pass"},
           {"a stranger", kIn / IPv4{"198.51.100.9", kOwn} / Tcp{}, "pass"},
           {"router advertisement", kIn / IPv6{"fe80::a2", "ff02::1", {}, 255} / Icmpv6{.type = 134}, "pass"},
           {"a neighbour of a guarded network", kIn / IPv4{"10.20.1.1", kOwn} / Tcp{}, "pass"},
           {"LLDP", kIn / Payload{}, "pass"}});
}

BOOST_AUTO_TEST_CASE(judges_before_anything_is_loaded) {
    Gateway gateway;
    gateway.forget_policy(0);
    BOOST_TEST(gateway.from_uplink(kIn / IPv4{"10.20.0.12", kOwn} / Udp{}) == "uplink_clear");
    gateway.gate.keep_links({});
    BOOST_TEST(gateway.from_uplink(kIn / IPv4{"10.20.0.12", kOwn} / Udp{}) == "uplink_clear");
}

BOOST_AUTO_TEST_CASE(judges_raw_ip_links_the_same) {
    Gateway gateway;
    const auto raw = [&](const Bytes& frame) {
        return gateway.judge(datapath::Hook::uplink_ingress, frame,
                             {.ifindex = gateway.raw, .ingress_ifindex = gateway.raw});
    };
    // Whatever stands before it: the packet is where the kernel says its network header is.
    BOOST_TEST(raw(kIn / IPv4{"10.20.0.12", kOwn} / Udp{}) == "uplink_clear");
    BOOST_TEST(raw(kIn / IPv4{"192.0.2.2", kOwn} / Udp{}) == "pass");
}

BOOST_AUTO_TEST_CASE(drops_mapped_and_truncated) {
    Gateway gateway;
    BOOST_TEST(gateway.from_uplink(kIn / IPv6{"::ffff:10.20.0.12", kOwn6} / Udp{}) == "malformed");
    BOOST_TEST(gateway.from_uplink(kIn / IPv6{kOwn6, "::ffff:192.0.2.1"} / Udp{}) == "malformed");
    for (const Packet& packet : {kIn / IPv4{"192.0.2.2", kOwn}, kIn / IPv6{"2001:db8:2::2", kOwn6}, kIn / Arp{}}) {
        const Bytes whole = packet;
        for (std::size_t length = 15; length < whole.size(); length++)
            BOOST_TEST(Gateway::truncated([&](const Bytes& frame) { return gateway.from_uplink(frame); }, whole, length)
                           .value_or("malformed") == "malformed");
    }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
