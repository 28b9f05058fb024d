// Every reason of bpf/drop_reasons.h has a frame that is dropped for it and for nothing else, counted once: an IPv4 (or
// ARP) and an IPv6 one. A new reason without a case here fails.
#include "tests/bpf/gateway.hpp"

#include <map>
#include <netinet/in.h>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Hook;

struct Example {
    Hook hook;
    Packet v4, v6;
    std::uint32_t mark = 0;
    std::function<void(Gateway&)> setup = {};
};

void no_policy(Gateway& gateway) { gateway.forget_policy(0); }
void unregister_uplink(Gateway& gateway) { gateway.gate.keep_links({gateway.lan, gateway.tun}); }
void carry(Gateway& gateway) {
    must(gateway.gate.set_link(gateway.wan, PENSTOCK_LINK_CARRIER, 14, PENSTOCK_LINK_CARRIES));
}
void latch(Gateway& gateway) { gateway.set_latch(1); }
void kernel_esp(Gateway& gateway) { must(gateway.gate.set_flags({})); }

void deny(Gateway& gateway) {
    auto tables = Gateway::policy();
    for (const char* to : {"203.0.113.0/24", "2001:db8:203::/64"}) {
        tables.blocks[0].rules.push_back(rule("any", to, 0, 0));
        tables.blocks[0].rules.back().allow = false;
    }
    gateway.enforce(tables);
}
void require_tls(Gateway& gateway) {
    auto tables = Gateway::policy();
    for (auto& rule : tables.blocks[0].rules)
        if (rule.proto == IPPROTO_TCP)
            rule.require = datapath::Require::tls;
    gateway.enforce(tables);
}
void spend_rate(Gateway& gateway) {
    auto tables = Gateway::policy();
    tables.blocks[0].packets_per_second = 1;
    gateway.enforce(tables);
    gateway.from_device(Ethernet{} / IPv4{} / Tcp{});
}
void learn(Gateway& gateway) {
    auto tables = Gateway::policy();
    tables.devices.front().addresses.clear();
    tables.devices.front().learns = true;
    gateway.enforce(tables);
}

void bind_elsewhere(Gateway& gateway) {
    auto tables = Gateway::policy();
    tables.devices[0].ifindex = static_cast<std::uint32_t>(gateway.other);
    gateway.enforce(tables);
}

const Bytes kFirstFragment{0, 1, 0, 0, 0, 7};
const Mac kStranger = "02:00:00:00:00:99";

std::map<int, Example> examples() {
    const Packet tcp4 = Ethernet{} / IPv4{} / Tcp{}, tcp6 = Ethernet{} / IPv6{} / Tcp{};
    const Packet reply4 = Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000},
                 reply6 = Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"} / Tcp{443, 40000};
    const IPv4 own4{"192.0.2.1", "192.0.2.2"};
    const IPv6 own6{"2001:db8:2::1", "2001:db8:2::2"};
    return {
        {PENSTOCK_DROP_MALFORMED,
         {Hook::lan_ingress, Ethernet{} / IPv4{.total_length = 1000} / Tcp{},
          Ethernet{} / IPv6{.payload_length = 1000} / Tcp{}}},
        {PENSTOCK_DROP_ETHERTYPE,
         {Hook::lan_ingress, Ethernet{.type = 0x88cc} / IPv4{} / Tcp{}, Ethernet{.type = 0x88cc} / IPv6{} / Tcp{}}},
        {PENSTOCK_DROP_VLAN,
         {Hook::lan_ingress, Ethernet{} / Vlan{} / IPv4{} / Tcp{}, Ethernet{} / Vlan{} / IPv6{} / Tcp{}}},
        {PENSTOCK_DROP_NO_POLICY, {Hook::lan_ingress, tcp4, tcp6, 0, no_policy}},
        {PENSTOCK_DROP_UNKNOWN_DEVICE,
         {Hook::lan_ingress, Ethernet{.source = kStranger} / IPv4{.source = "10.20.0.99"} / Tcp{},
          Ethernet{.source = kStranger} / IPv6{.source = "fd20::99"} / Tcp{}}},
        {PENSTOCK_DROP_MAC_MISMATCH,
         {Hook::lan_ingress, Ethernet{.source = kStranger} / IPv4{} / Tcp{},
          Ethernet{.source = kStranger} / IPv6{} / Tcp{}}},
        {PENSTOCK_DROP_ADDRESS_MISMATCH,
         {Hook::lan_ingress, Ethernet{} / IPv4{.source = "10.20.0.99"} / Tcp{},
          Ethernet{} / IPv6{.source = "fd20::99"} / Tcp{}}},
        {PENSTOCK_DROP_MULTICAST,
         {Hook::lan_ingress, Ethernet{} / IPv4{.destination = "224.0.0.251"} / Udp{},
          Ethernet{} / IPv6{.destination = "ff02::fb"} / Udp{}}},
        {PENSTOCK_DROP_FRAGMENT,
         {Hook::lan_ingress, Ethernet{} / IPv4{.more_fragments = true} / Tcp{},
          Ethernet{} / IPv6{} / Extension{.type = 44, .content = kFirstFragment} / Tcp{}}},
        {PENSTOCK_DROP_IP_OPTIONS,
         {Hook::lan_ingress, Ethernet{} / IPv4{.options = {1, 1, 1, 1}} / Tcp{},
          Ethernet{} / IPv6{} / Extension{.type = 43} / Tcp{}}},
        {PENSTOCK_DROP_NOT_ALLOWED,
         {Hook::lan_ingress, Ethernet{} / IPv4{} / Tcp{.destination = 80},
          Ethernet{} / IPv6{} / Tcp{.destination = 80}}},
        {PENSTOCK_DROP_NO_TUNNEL,
         {Hook::lan_ingress, Ethernet{} / IPv4{.destination = "198.51.100.1"} / Tcp{},
          Ethernet{} / IPv6{.destination = "2001:db8:bad::1"} / Tcp{}}},
        {PENSTOCK_DROP_TUNNEL_DOWN,
         {Hook::lan_ingress, Ethernet{} / IPv4{.destination = "203.0.114.1"} / Tcp{},
          Ethernet{} / IPv6{.destination = "2001:db8:204::1"} / Tcp{}}},
        {PENSTOCK_DROP_ARP_FORGED,
         {Hook::lan_ingress, Ethernet{} / Arp{.sender = "10.20.0.13"},
          Ethernet{} / IPv6{.destination = "fe80::1", .hop_limit = 255} / neighbour_advert("fd20::13")}},
        {PENSTOCK_DROP_NOT_DECRYPTED, {Hook::lan_egress, reply4, reply6, 0, kernel_esp}},
        {PENSTOCK_DROP_NO_FLOW, {Hook::lan_egress, reply4, reply6}},
        {PENSTOCK_DROP_NO_DEVICE,
         {Hook::lan_egress, Ethernet{} / IPv4{"203.0.113.10", "10.20.0.99"} / Tcp{},
          Ethernet{} / IPv6{"2001:db8:203::10", "fd20::99"} / Tcp{}}},
        {PENSTOCK_DROP_DEVICE_CLEAR, {Hook::uplink_egress, tcp4, tcp6, kDeviceMark}},
        {PENSTOCK_DROP_ESP_UNKNOWN_SA,
         {Hook::uplink_egress, Ethernet{} / own4 / Esp{1}, Ethernet{} / own6 / Esp{1}, kEspMark}},
        {PENSTOCK_DROP_HOST_CLEAR, {Hook::uplink_egress, Ethernet{} / own4 / Tcp{}, Ethernet{} / own6 / Tcp{}}},
        {PENSTOCK_DROP_OTHER_LINK,
         {Hook::uplink_egress, Ethernet{} / own4 / Esp{}, Ethernet{} / own6 / Esp{}, kEspMark, unregister_uplink}},
        {PENSTOCK_DROP_SOURCE_ADDRESS,
         {Hook::uplink_egress, Ethernet{} / IPv4{"192.0.2.9", "192.0.2.2"} / Udp{500, 500},
          Ethernet{} / IPv6{"2001:db8:2::9", "2001:db8:2::2"} / Udp{500, 500}, kIkeMark}},
        {PENSTOCK_DROP_UPLINK_CLEAR,
         {Hook::uplink_ingress, Ethernet{} / IPv4{"10.20.0.12", "192.0.2.1"} / Tcp{},
          Ethernet{} / IPv6{"fd20::12", "2001:db8:2::1"} / Tcp{}}},
        {PENSTOCK_DROP_UPLINK_NEIGHBOUR,
         {Hook::uplink_ingress, Ethernet{} / Arp{.sender = "192.0.2.2", .target = "10.20.0.1"},
          Ethernet{} / IPv6{.source = "fe80::2", .destination = "ff02::1:ff00:12", .hop_limit = 255} /
              neighbour_solicit("fd20::12")}},
        {PENSTOCK_DROP_DENIED, {Hook::lan_ingress, tcp4, tcp6, 0, deny}},
        {PENSTOCK_DROP_NOT_TLS, {Hook::lan_ingress, tcp4 / Payload{}, tcp6 / Payload{}, 0, require_tls}},
        {PENSTOCK_DROP_RATE, {Hook::lan_ingress, tcp4, tcp6, 0, spend_rate}},
        {PENSTOCK_DROP_CARRIER,
         {Hook::uplink_egress, Ethernet{} / own4 / Esp{}, Ethernet{} / own6 / Esp{}, kEspMark, carry}},
        {PENSTOCK_DROP_WRONG_LAN, {Hook::lan_ingress, tcp4, tcp6, 0, bind_elsewhere}},
        {PENSTOCK_DROP_LATCHED, {Hook::lan_ingress, tcp4, tcp6, 0, latch}},
        {PENSTOCK_DROP_NOT_LEARNT, {Hook::lan_ingress, tcp4, tcp6, 0, learn}},
    };
}

BOOST_AUTO_TEST_SUITE(drop_reasons, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(every_reason_is_counted_once_under_its_name) {
    const auto all = examples();
    for (std::uint8_t reason = 1; reason < PENSTOCK_DROP_REASON_MAX; reason++) {
        const auto name = datapath::drop_name(reason);
        const auto found = all.find(reason);
        if (found == all.end()) {
            BOOST_ERROR("no frame is dropped for " + name);
            continue;
        }
        const auto& example = found->second;
        for (const auto* packet : {&example.v4, &example.v6}) {
            Gateway gateway;
            if (example.setup)
                example.setup(gateway);
            const auto verdict = example.hook == Hook::lan_ingress      ? gateway.from_device(*packet, example.mark)
                                 : example.hook == Hook::lan_egress     ? gateway.to_device(*packet)
                                 : example.hook == Hook::uplink_ingress ? gateway.from_uplink(*packet)
                                                                        : gateway.uplink(*packet, example.mark);
            BOOST_TEST(verdict == name);
        }
    }
}

BOOST_AUTO_TEST_CASE(every_reason_has_a_name_and_a_sentence) {
    for (std::uint8_t reason = 0; reason < PENSTOCK_DROP_REASON_MAX; reason++) {
        BOOST_TEST(!datapath::drop_name(reason).empty());
        BOOST_TEST(datapath::drop_description(reason).size() > 10U);
    }
    BOOST_TEST(datapath::drop_name(250) == "reason_250");
    BOOST_TEST(datapath::drop_name(PENSTOCK_DROP_UNKNOWN_DEVICE) == "unknown_device");
    BOOST_TEST(datapath::drop_name(PENSTOCK_DROP_SOURCE_ADDRESS) == "source_address"); // numbers never move
    BOOST_TEST(static_cast<int>(PENSTOCK_DROP_SOURCE_ADDRESS) == 22);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
