// Below an uplink: a frame on its carrier is judged behind the headers of VLAN and PPPoE, as what it is on the uplink.
// BPF_PROG_TEST_RUN keeps VLAN tags in the frame; the tag that the kernel keeps beside it is for the suites with VLANs.
#include "tests/bpf/gateway.hpp"

#include <linux/if_ether.h>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Ethernet kOut{.source = "02:00:00:00:00:a1", .destination = "02:00:00:00:00:a2"};
const IPv4 kToPeer{.source = "192.0.2.1", .destination = "192.0.2.2"};
const IPv6 kToPeer6{.source = "2001:db8:2::1", .destination = "2001:db8:2::2"};
constexpr std::uint16_t kSession = 0x1234;

// other0 is the hardware; wan0, the uplink, stands on it by whatever the case says.
struct Below : Gateway {
    explicit Below(std::vector<datapath::Carried> carried, unsigned flags = 0) {
        for (auto& one : carried)
            one = {.carrier = one.carrier == 0 ? other : one.carrier,
                   .ethertype = one.ethertype,
                   .id = one.id,
                   .upper = one.upper == 0 ? wan : one.upper};
        must(gate.set_carried(carried));
        must(gate.set_link(other, PENSTOCK_LINK_CARRIER, 14, PENSTOCK_LINK_CARRIES | flags));
        must(gate.set_flags({}));
    }
    ~Below() { (void)gate.set_carried({}); }
    Below(const Below&) = delete;
    Below& operator=(const Below&) = delete;

    std::string carrier(const Bytes& frame, std::uint32_t mark = 0, int from = 0) {
        return judge(datapath::Hook::uplink_egress, frame, {.ifindex = other, .ingress_ifindex = from, .mark = mark});
    }
};

// 8 bytes (RFC 2516, 4 and RFC 1661, 2) before a packet of PPP.
Payload pppoe(std::uint16_t protocol, std::uint16_t session = kSession, std::uint8_t version = 0x11) {
    Bytes out{version, 0};
    put16(out, session);
    put16(out, 100);
    put16(out, protocol);
    return {out};
}

Ethernet of_type(std::uint16_t type) { return {.source = kOut.source, .destination = kOut.destination, .type = type}; }

const datapath::Carried kVlan7{.ethertype = ETH_P_8021Q, .id = 7};
const datapath::Carried kPppoe{.ethertype = ETH_P_PPP_SES, .id = kSession};

BOOST_AUTO_TEST_SUITE(carriers, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(a_vlan_of_the_uplink_alone_passes) {
    Below gateway({kVlan7});
    const auto esp = [](std::uint16_t id, std::uint16_t tpid = ETH_P_8021Q) {
        return kOut / Vlan{id, tpid} / kToPeer / Esp{} / Payload{};
    };
    BOOST_TEST(gateway.carrier(esp(7), kEspMark) == "pass");
    BOOST_TEST(gateway.carrier(esp(7 | 0xe000), kEspMark) == "pass"); // with a priority
    BOOST_TEST(gateway.carrier(kOut / Vlan{7} / kToPeer6 / Esp{} / Payload{}, kEspMark) == "pass");
    BOOST_TEST(gateway.carrier(esp(8), kEspMark) == "carrier");
    BOOST_TEST(gateway.carrier(esp(7, ETH_P_8021AD), kEspMark) == "carrier");
    BOOST_TEST(gateway.carrier(kOut / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
    BOOST_TEST(gateway.carrier(kOut / Vlan{7} / Vlan{7} / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
    BOOST_TEST(gateway.carrier(kOut / Vlan{7} / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}) == "pass");
    BOOST_TEST(gateway.carrier(kOut / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}) == "carrier");
}

BOOST_AUTO_TEST_CASE(the_right_tag_does_not_help_a_frame_that_may_not_leave) {
    Below gateway({kVlan7});
    const auto verdict = [&](const Packet& inner, std::uint32_t mark = 0, int from = 0) {
        return gateway.carrier(inner, mark, from);
    };
    const auto tagged = kOut / Vlan{7};
    BOOST_TEST(verdict(tagged / IPv4{} / Tcp{}) == "host_clear");
    BOOST_TEST(verdict(tagged / IPv4{} / Tcp{}, kDeviceMark) == "device_clear");
    BOOST_TEST(verdict(tagged / IPv4{} / Tcp{}, 0, gateway.lan) == "device_clear");
    BOOST_TEST(verdict(tagged / kToPeer / Esp{} / Payload{}) == "esp_unknown_sa");
    BOOST_TEST(verdict(tagged / kToPeer / Esp{kSpi + 1} / Payload{}, kEspMark) == "esp_unknown_sa");
    BOOST_TEST(verdict(tagged / IPv4{"192.0.2.129", "192.0.2.2"} / Udp{500, 500} / Payload{}, kIkeMark) ==
               "source_address"); // of another uplink
    BOOST_TEST(verdict(tagged / Arp{.sender = "10.20.0.1", .target = "192.0.2.2"}) == "source_address");
    BOOST_TEST(verdict(tagged / Payload{}) == "ethertype");
    gateway.set_latch(1);
    BOOST_TEST(verdict(tagged / kToPeer / Esp{} / Payload{}, kEspMark) == "latched");
}

BOOST_AUTO_TEST_CASE(a_session_of_the_uplink_alone_passes) {
    Below gateway({kPppoe}, PENSTOCK_LINK_PPPOE);
    const auto session = of_type(ETH_P_PPP_SES);
    BOOST_TEST(gateway.carrier(session / pppoe(0x21) / kToPeer / Esp{} / Payload{}, kEspMark) == "pass");
    BOOST_TEST(gateway.carrier(session / pppoe(0x57) / kToPeer6 / Esp{} / Payload{}, kEspMark) == "pass");
    BOOST_TEST(gateway.carrier(session / pppoe(0x21) / kToPeer / Udp{500, 500} / Payload{}, kIkeMark) == "pass");
    BOOST_TEST(gateway.carrier(session / pppoe(0x21, kSession + 1) / kToPeer / Esp{} / Payload{}, kEspMark) ==
               "carrier");
    BOOST_TEST(gateway.carrier(session / pppoe(0x21, kSession, 0x12) / kToPeer / Esp{} / Payload{}, kEspMark) ==
               "carrier");
    BOOST_TEST(gateway.carrier(session / pppoe(0x21) / IPv4{} / Tcp{}) == "host_clear");
    BOOST_TEST(gateway.carrier(session / pppoe(0x21) / kToPeer / Esp{kSpi + 1} / Payload{}, kEspMark) ==
               "esp_unknown_sa");
    // Says IPv4 and is IPv6; compressed; of a protocol nobody needs.
    BOOST_TEST(gateway.carrier(session / pppoe(0x21) / kToPeer6 / Esp{} / Payload{}, kEspMark) == "malformed");
    BOOST_TEST(gateway.carrier(session / pppoe(0x2d) / Payload{}) == "ethertype");
    BOOST_TEST(gateway.carrier(session / pppoe(0xfd) / Payload{}) == "ethertype");
    BOOST_TEST(gateway.carrier(kOut / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
    BOOST_TEST(gateway.carrier(kOut / Vlan{7} / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
}

BOOST_AUTO_TEST_CASE(a_session_can_be_made_and_kept) {
    Below gateway({}, PENSTOCK_LINK_PPPOE);
    const auto discovery = [&](std::uint8_t code, int from = 0) {
        return gateway.carrier(of_type(ETH_P_PPP_DISC) / Payload{{0x11, code, 0, 0, 0, 4, 1, 1, 0, 0}} / Payload{}, 0,
                               from);
    };
    for (const std::uint8_t client : {0x09, 0x19, 0xa7})
        BOOST_TEST(discovery(client) == "pass");
    for (const std::uint8_t server : {0x07, 0x65, 0xd3})
        BOOST_TEST(discovery(server) == "carrier");
    for (const std::uint16_t control : {0xc021, 0xc023, 0xc223, 0xc227, 0x8021, 0x8057}) {
        const Bytes frame = of_type(ETH_P_PPP_SES) / pppoe(control) / Payload{};
        BOOST_TEST(gateway.carrier(frame) == "pass");
        BOOST_TEST(gateway.carrier(frame, kDeviceMark) == "carrier");
        BOOST_TEST(gateway.carrier(frame, 0, gateway.lan) == "carrier");
    }
    BOOST_TEST(discovery(0x09, gateway.lan) == "carrier");
    BOOST_TEST(gateway.carrier(of_type(ETH_P_PPP_SES) / pppoe(0x80fd) / Payload{}) == "carrier"); // compression
    Below without({});
    BOOST_TEST(without.carrier(of_type(ETH_P_PPP_DISC) / Payload{{0x11, 0x09, 0, 0, 0, 4, 1, 1, 0, 0}} / Payload{}) ==
               "carrier");
}

BOOST_AUTO_TEST_CASE(pppoe_in_a_vlan_of_a_bond) {
    Below gateway({});
    const int bond = gateway.tun, vlan = gateway.raw; // any two
    must(gateway.gate.set_carried(
        {{.carrier = gateway.other, .upper = bond},
         {.carrier = bond, .ethertype = ETH_P_8021Q, .id = 7, .upper = vlan},
         {.carrier = vlan, .ethertype = ETH_P_PPP_SES, .id = kSession, .upper = gateway.wan}}));
    must(gateway.gate.set_link(bond, PENSTOCK_LINK_CARRIER, 14, PENSTOCK_LINK_CARRIES));
    must(gateway.gate.set_link(vlan, PENSTOCK_LINK_CARRIER, 14, PENSTOCK_LINK_CARRIES | PENSTOCK_LINK_PPPOE));
    const auto in_vlan = [](std::uint8_t id, Bytes head) {
        Bytes out{0, id, 0x88, 0x64};
        put(out, head);
        return of_type(ETH_P_8021Q) / Payload{out};
    };
    const auto head = pppoe(0x21).bytes;
    BOOST_TEST(gateway.carrier(in_vlan(7, head) / kToPeer / Esp{} / Payload{}, kEspMark) == "pass");
    BOOST_TEST(gateway.carrier(in_vlan(7, head) / IPv4{} / Tcp{}, kDeviceMark) == "device_clear");
    BOOST_TEST(gateway.carrier(in_vlan(8, head) / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
    BOOST_TEST(gateway.carrier(in_vlan(7, pppoe(0xc021).bytes) / Payload{}) == "pass");
    BOOST_TEST(gateway.carrier(in_vlan(8, pppoe(0xc021).bytes) / Payload{}) == "carrier");
}

BOOST_AUTO_TEST_CASE(a_port_passes_what_its_bond_passes) {
    Below gateway({{}}, PENSTOCK_LINK_LACP);
    BOOST_TEST(gateway.carrier(kOut / kToPeer / Esp{} / Payload{}, kEspMark) == "pass");
    BOOST_TEST(gateway.carrier(kOut / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}) == "pass");
    BOOST_TEST(gateway.carrier(kOut / IPv4{} / Tcp{}) == "host_clear");
    BOOST_TEST(gateway.carrier(kOut / IPv4{} / Tcp{}, 0, gateway.lan) == "device_clear");
    BOOST_TEST(gateway.carrier(kOut / Vlan{7} / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
    // LACP has no socket; here every frame has one.
    BOOST_TEST(gateway.carrier(of_type(0x8809) / Payload{Bytes(110, 1)}) == "ethertype");
}

BOOST_AUTO_TEST_CASE(an_uplink_may_carry_another_one) {
    Below gateway({});
    must(gateway.gate.set_carried({{.carrier = gateway.wan, .ethertype = ETH_P_8021Q, .id = 7, .upper = gateway.raw}}));
    must(gateway.gate.set_link(gateway.wan, PENSTOCK_LINK_UPLINK, 14, PENSTOCK_LINK_CARRIES));
    must(gateway.gate.set_link(gateway.raw, PENSTOCK_LINK_UPLINK, 14));
    const IPv4 from_vlan{"192.0.2.129", "192.0.2.2"};
    BOOST_TEST(gateway.uplink(kOut / kToPeer / Udp{500, 500} / Payload{}, kIkeMark) == "pass");
    BOOST_TEST(gateway.uplink(kOut / Vlan{7} / from_vlan / Udp{500, 500} / Payload{}, kIkeMark) == "pass");
    BOOST_TEST(gateway.uplink(kOut / from_vlan / Udp{500, 500} / Payload{}, kIkeMark) == "source_address");
    BOOST_TEST(gateway.uplink(kOut / Vlan{7} / kToPeer / Udp{500, 500} / Payload{}, kIkeMark) == "source_address");
    BOOST_TEST(gateway.uplink(kOut / Vlan{8} / kToPeer / Udp{500, 500} / Payload{}, kIkeMark) == "carrier");
}

BOOST_AUTO_TEST_CASE(nothing_passes_where_nobody_stands_above) {
    Below gateway({});
    for (const Bytes& frame :
         std::vector<Bytes>{kOut / kToPeer / Esp{} / Payload{}, kOut / Vlan{7} / kToPeer / Esp{} / Payload{},
                            kOut / Payload{}, Bytes(14, 0)})
        BOOST_TEST(gateway.carrier(frame, kEspMark) == "carrier");
    must(gateway.gate.set_carried({{.carrier = gateway.other, .upper = gateway.lan}}));
    BOOST_TEST(gateway.carrier(kOut / IPv4{} / Tcp{}) == "carrier");
    must(gateway.gate.set_carried({{.carrier = gateway.other, .upper = gateway.other}})); // round and round
    BOOST_TEST(gateway.carrier(kOut / kToPeer / Esp{} / Payload{}, kEspMark) == "carrier");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
