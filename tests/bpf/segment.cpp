// What a SYN says of the largest segment, on its way into a tunnel and out of it.
#include "tests/bpf/gateway.hpp"

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Hook;

constexpr unsigned kMtu = 1400;
constexpr std::uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10;

Bytes mss(unsigned value) { return {2, 4, static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)}; }

Bytes joined(std::initializer_list<Bytes> parts) {
    Bytes out;
    for (const auto& part : parts)
        put(out, part);
    return out;
}

// The frame as it left the program, which must have passed it.
Bytes passed(Gateway& gateway, Hook hook, const Bytes& frame) {
    const bool out = hook == Hook::lan_ingress;
    const auto outcome = run_program(gateway.programs, hook, frame,
                                     {.ifindex = gateway.lan, .ingress_ifindex = out ? gateway.lan : gateway.tun});
    BOOST_TEST(outcome.action == -1); // TC_ACT_UNSPEC
    return outcome.frame;
}

// From the device: a packet of ours with these options, and what must come out of it.
void check_out(const char* name, const Bytes& before, const Bytes& after, std::uint8_t flags = kSyn) {
    Gateway gateway;
    must(gateway.gate.set_tunnel_mtu(0, kMtu));
    if (flags == kAck) // of a connection that is there
        passed(gateway, Hook::lan_ingress, Ethernet{} / IPv4{} / Tcp{});
    const Bytes sent = Ethernet{} / IPv4{} / Tcp{.flags = flags, .options = before};
    // The expected frame is built anew, so that its checksum is right: an updated one must be the same.
    const Bytes expected = Ethernet{} / IPv4{} / Tcp{.flags = flags, .options = after};
    BOOST_TEST(passed(gateway, Hook::lan_ingress, sent) == expected, name);
}

BOOST_AUTO_TEST_SUITE(segment, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(a_device_announces_what_fits) {
    check_out("too large", mss(1460), mss(1360));
    check_out("just fits", mss(1360), mss(1360));
    check_out("smaller", mss(536), mss(536));
    check_out("largest", mss(0xffff), mss(1360));
    check_out("behind others", joined({{1, 3, 3, 7}, mss(1460)}), joined({{1, 3, 3, 7}, mss(1360)}));
    check_out("at an odd place", joined({{1}, mss(1460), {1, 1, 0}}), joined({{1}, mss(1360), {1, 1, 0}}));
    check_out("at the end of all options", joined({Bytes(36, 1), mss(1460)}), joined({Bytes(36, 1), mss(1360)}));
}

BOOST_AUTO_TEST_CASE(all_else_stays_as_it_is) {
    check_out("none", {}, {});
    check_out("no SYN", mss(1460), mss(1460), kAck);
    check_out("behind the end", joined({{0, 0, 0, 0}, mss(1460)}), joined({{0, 0, 0, 0}, mss(1460)}));
    check_out("of a wrong length", {2, 3, 0xff, 0}, {2, 3, 0xff, 0});
    check_out("an option without a length", joined({{9, 0, 0, 0}, mss(1460)}), joined({{9, 0, 0, 0}, mss(1460)}));
    check_out("an option that is too long", {9, 200, 2, 4}, {9, 200, 2, 4});
    check_out("cut off", {1, 1, 2, 4}, {1, 1, 2, 4});
    Gateway gateway;
    must(gateway.gate.set_tunnel_mtu(0, 0));
    const Bytes frame = Ethernet{} / IPv4{} / Tcp{.options = mss(1460)};
    BOOST_TEST(passed(gateway, Hook::lan_ingress, frame) == frame, "the tunnel's MTU is not known");
}

BOOST_AUTO_TEST_CASE(over_ipv6_and_for_the_answer) {
    Gateway gateway;
    must(gateway.gate.set_tunnel_mtu(0, kMtu));
    const auto six = [](unsigned value) -> Bytes { return Ethernet{} / IPv6{} / Tcp{.options = mss(value)}; };
    BOOST_TEST(passed(gateway, Hook::lan_ingress, six(1440)) == six(1340));
    const auto answer = [](unsigned value) -> Bytes {
        return Ethernet{.source = "02:00:00:00:00:01", .destination = "02:00:00:00:00:12"} /
               IPv4{"203.0.113.10", "10.20.0.12"} / Tcp{443, 40000, kSynAck, mss(value)};
    };
    passed(gateway, Hook::lan_ingress, Ethernet{} / IPv4{} / Tcp{.options = mss(1460)});
    BOOST_TEST(passed(gateway, Hook::lan_egress, answer(1460)) == answer(1360));
}

BOOST_AUTO_TEST_CASE(a_fragment_is_left_alone) {
    Gateway gateway;
    must(gateway.gate.set_tunnel_mtu(0, kMtu));
    const Bytes first = Ethernet{} / IPv4{.more_fragments = true} / Tcp{.options = mss(1460)};
    BOOST_TEST(passed(gateway, Hook::lan_ingress, first) == first);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
