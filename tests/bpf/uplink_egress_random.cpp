// 20,000 mutated frames, judged a second time by a predicate written from the table of essentials and nothing else.
#include "tests/bpf/gateway.hpp"

#include <linux/pkt_cls.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <system_error>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

unsigned at16(const Bytes& b, std::size_t i) { return static_cast<unsigned>(b[i]) << 8 | b[i + 1]; }
Bytes part(const Bytes& b, std::size_t from, std::size_t count) {
    return {b.begin() + static_cast<std::ptrdiff_t>(from), b.begin() + static_cast<std::ptrdiff_t>(from + count)};
}
bool one_of(const Bytes& address, std::initializer_list<const char*> list) {
    return std::any_of(list.begin(), list.end(), [&](const char* text) { return ip_bytes(text) == address; });
}

bool in_guarded_network(Bytes address) {
    address.back() = 0;
    return one_of(address, {"10.20.0.0", "203.0.113.0", "203.0.114.0"});
}

// May a frame of the gateway itself, without any mark of ours, leave on wan0? host_egress is closed.
bool is_essential(const Bytes& f) {
    if (f.size() < 14)
        return false;
    const auto type = at16(f, 12);
    if (type == 0x0806)
        return f.size() >= 42 && part(f, 14, 6) == Bytes{0, 1, 8, 0, 6, 4} &&
               one_of(part(f, 28, 4), {"0.0.0.0", "192.0.2.1"}) && !in_guarded_network(part(f, 38, 4));
    if (type == 0x0800) {
        const bool whole = f.size() >= 42 && f[14] == 0x45 && at16(f, 16) >= 28 && at16(f, 16) + 14U <= f.size();
        return whole && (at16(f, 20) & 0x3fff) == 0 && f[23] == 17 &&
               one_of(part(f, 26, 4), {"0.0.0.0", "192.0.2.1"}) && at16(f, 34) == 68 && at16(f, 36) == 67;
    }
    if (type != 0x86dd || f.size() < 54 || f[14] >> 4 != 6 || at16(f, 18) + 54U > f.size() ||
        !one_of(part(f, 22, 16), {"::", "2001:db8:2::1", "fe80::2"}))
        return false;
    const auto next = f[20], hops = f[21];
    const auto to = part(f, 38, 16);
    if (next == 58)
        return at16(f, 18) >= 8 && hops == 255 && (f[54] == 133 || f[54] == 135 || f[54] == 136);
    if (next == 0)
        return hops == 1 && to[0] == 0xff && to[1] == 2 && to[15] == 0x16;
    return next == 17 && at16(f, 18) >= 8 && at16(f, 54) == 546 && at16(f, 56) == 547 && to[0] == 0xff && to[1] == 2;
}

std::vector<Bytes> seeds() {
    return {Ethernet{} / IPv4{} / Tcp{} / Payload{},
            Ethernet{} / IPv6{} / Tcp{} / Payload{},
            Ethernet{} / IPv4{"192.0.2.1", "192.0.2.2"} / Esp{} / Payload{},
            Ethernet{} / IPv4{"192.0.2.1", "192.0.2.2"} / Udp{4500, 4500} / Esp{} / Payload{},
            Ethernet{} / IPv4{"192.0.2.1", "192.0.2.2"} / Udp{500, 500} / Payload{},
            Ethernet{} / IPv6{"2001:db8:2::1", "2001:db8:2::2"} / Esp{} / Payload{},
            Ethernet{} / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67} / Payload{},
            Ethernet{} / IPv4{"192.0.2.1", "192.0.2.254"} / Udp{68, 67} / Payload{},
            Ethernet{} / IPv6{"fe80::2", "ff02::1:2"} / Udp{546, 547} / Payload{},
            Ethernet{} / Arp{.sender = "192.0.2.1"}, // for the gateway's LAN address
            Ethernet{} / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"},
            Ethernet{} / Arp{.sender = "0.0.0.0", .target = "192.0.2.2"},
            Ethernet{} / IPv6{"fe80::2", "ff02::1:ff00:2", {}, 255} / neighbour_solicit("2001:db8:2::2"),
            Ethernet{} / IPv6{"2001:db8:2::1", "fe80::9", {}, 255} / neighbour_advert("2001:db8:2::1"),
            Ethernet{} / IPv6{"fe80::2", "ff02::16", {}, 1} / Extension{} / Icmpv6{.type = 143} / Payload{},
            Ethernet{} / IPv4{.source = "192.0.2.1", .destination = "192.0.2.2", .fragment_offset = 9} / Payload{}};
}

std::string hex(const Bytes& frame) {
    static const char* const kDigits = "0123456789abcdef";
    std::string out;
    for (const auto byte : frame) {
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

// Nothing where BPF_PROG_TEST_RUN refuses half an IP header.
std::optional<Outcome> run(const Gateway& gateway, datapath::Hook hook, const Bytes& frame, const Context& context) {
    try {
        return run_program(gateway.programs, hook, frame, context);
    } catch (const std::system_error& error) {
        if (error.code().value() != EINVAL || frame.size() >= 14 + 40)
            throw;
        return std::nullopt;
    }
}

BOOST_AUTO_TEST_SUITE(uplink_egress_random, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(passes_exactly_the_essentials) {
    Gateway gateway(Gateway::Maps::own);
    const auto frames = seeds();
    std::mt19937 random(20260101); // NOLINT(cert-msc51-cpp): the same frames every time
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    // Values that mean something somewhere in a header.
    const Bytes telling{0, 1, 2, 4, 6, 8, 17, 0x16, 0x40, 0x45, 0x46, 50, 58, 59, 0x60, 67, 68, 133, 135, 255};
    int passed = 0, dropped = 0, wrong = 0;
    for (int i = 0; i < 20000; i++) {
        Bytes frame = frames[below(frames.size())];
        for (auto changes = below(5); changes > 0; changes--)
            frame[12 + below(std::min<std::size_t>(frame.size() - 12, 60))] =
                below(2) == 0 ? telling[below(telling.size())] : static_cast<std::uint8_t>(random());
        if (below(8) == 0)
            frame.resize(15 + below(frame.size() - 14));
        else if (below(8) == 0)
            frame.resize(frame.size() + below(40));
        for (const std::uint32_t mark : {0U, kDeviceMark}) {
            for (const int from : {0, gateway.lan}) {
                const auto result = run(gateway, datapath::Hook::uplink_egress, frame,
                                        {.ifindex = gateway.wan, .ingress_ifindex = from, .mark = mark});
                if (!result)
                    continue;
                const auto& outcome = *result;
                const bool pass = outcome.action == TC_ACT_UNSPEC;
                const bool right = mark == 0 && from == 0 && is_essential(frame);
                const bool arp = at16(frame, 12) == 0x0806; // ARP of the uplink is judged before the mark
                if (pass != right && !(arp && mark == kDeviceMark && from == 0 && pass == is_essential(frame))) {
                    if (wrong++ < 10)
                        BOOST_ERROR((pass ? "passed: " : "dropped: ")
                                    << "mark " << mark << " from " << from << " " << hex(frame));
                }
                (pass ? passed : dropped)++;
                if (!pass && outcome.action != TC_ACT_SHOT)
                    BOOST_ERROR("neither passed nor dropped: " << hex(frame));
            }
        }
    }
    BOOST_TEST(wrong == 0);
    BOOST_TEST(passed > 1000);
    BOOST_TEST(dropped > 10000);
    std::uint64_t counted = 0;
    for (const auto& drop : gateway.counters.drops())
        counted += drop.count;
    BOOST_TEST(counted == static_cast<std::uint64_t>(dropped));
}

// Whatever a mutated frame of a device is: it passes only with the device's own MAC and address.
BOOST_AUTO_TEST_CASE(lan_ingress_never_passes_a_foreign_source) {
    Gateway gateway;
    const std::vector<Bytes> frames{Ethernet{} / IPv4{} / Tcp{} / Payload{}, Ethernet{} / IPv6{} / Udp{} / Payload{},
                                    Ethernet{} / IPv4{} / Udp{} / Payload{}, Ethernet{} / Arp{},
                                    Ethernet{} / IPv6{"fd20::12", "fe80::1", {}, 255} / neighbour_advert("fd20::12")};
    std::mt19937 random(20260102); // NOLINT(cert-msc51-cpp)
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    int passed = 0, wrong = 0;
    for (int i = 0; i < 20000; i++) {
        Bytes frame = frames[below(frames.size())];
        for (auto changes = below(4); changes > 0; changes--)
            frame[6 + below(std::min<std::size_t>(frame.size() - 6, 60))] = static_cast<std::uint8_t>(random());
        if (below(8) == 0)
            frame.resize(15 + below(frame.size() - 14));
        const auto result =
            run(gateway, datapath::Hook::lan_ingress, frame, {.ifindex = gateway.lan, .ingress_ifindex = gateway.lan});
        if (!result)
            continue;
        const auto& outcome = *result;
        if (outcome.mark != kDeviceMark)
            wrong++;
        if (outcome.action == TC_ACT_SHOT)
            continue;
        passed++;
        const auto type = at16(frame, 12);
        const bool own = part(frame, 6, 6) == mac_bytes("02:00:00:00:00:12") &&
                         ((type == 0x0806 && one_of(part(frame, 28, 4), {"0.0.0.0", "10.20.0.12"})) ||
                          (type == 0x0800 && one_of(part(frame, 26, 4), {"10.20.0.12"})) ||
                          (type == 0x86dd && (one_of(part(frame, 22, 16), {"::", "fd20::12"}) ||
                                              (frame[22] == 0xfe && (frame[23] & 0xc0) == 0x80 && frame[20] == 58))));
        if (!own && wrong++ < 10)
            BOOST_ERROR("passed: " << hex(frame));
    }
    BOOST_TEST(wrong == 0);
    BOOST_TEST(passed > 1000);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
