// The early drop (XDP): it takes only what lan_ingress drops, under the same reason, and leaves the rest to it.
#include "agent/datapath/early_drop.hpp"
#include "tests/bpf/gateway.hpp"
#include "tests/bpf/wire.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <random>
#include <system_error>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::EarlyDrop;

const Mac kStranger = "02:00:00:00:00:99";

bool dropped_early(const Gateway& gateway, const Bytes& frame) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    if (const int error = bpf_prog_test_run_opts(gateway.programs.early_drop_fd(), &options); error != 0)
        throw std::system_error(-error, std::generic_category(), "BPF_PROG_TEST_RUN in XDP");
    BOOST_TEST((options.retval == XDP_DROP || options.retval == XDP_PASS));
    return options.retval == XDP_DROP;
}

using Drops = decltype(std::declval<Gateway>().counters.drops());

// The reasons under which something was counted in between.
std::string counted(const Drops& before, const Drops& after) {
    std::string out;
    for (std::size_t i = 0; i < before.size(); i++)
        for (auto count = before[i].count; count < after[i].count; count++)
            out += after[i].name;
    return out;
}

BOOST_AUTO_TEST_SUITE(early_drop, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(drops_strangers_and_nobody_else) {
    Gateway gateway;
    const Ethernet stranger{.source = kStranger};
    const IPv4 strange4{.source = "10.20.0.99"};
    const IPv6 strange6{.source = "fd20::99"};
    struct {
        const char* name;
        Packet frame;
        bool early;
        const char* reason = "unknown_device";
    } const cases[] = {
        {"stranger, IPv4", stranger / strange4 / Tcp{}, true},
        {"stranger, IPv6", stranger / strange6 / Udp{}, true},
        {"stranger, ARP", stranger / Arp{.sender = "10.20.0.99"}, true},
        {"stranger with a device's address", stranger / IPv4{} / Tcp{}, true, "mac_mismatch"},
        {"stranger with a device's address, IPv6", stranger / IPv6{} / Tcp{}, true, "mac_mismatch"},
        {"stranger, VLAN", stranger / Vlan{} / strange4 / Tcp{}, false},
        {"stranger, other protocol", Ethernet{.source = kStranger, .type = 0x88cc} / strange4 / Tcp{}, false},
        {"device", Ethernet{} / IPv4{} / Tcp{}, false},
        {"device, IPv6", Ethernet{} / IPv6{} / Tcp{}, false},
        {"device with a strange address", Ethernet{} / strange4 / Tcp{}, false},
        {"device, ARP", Ethernet{} / Arp{}, false},
    };
    for (const auto& c : cases) {
        const auto before = gateway.counters.drops();
        BOOST_TEST(dropped_early(gateway, c.frame) == c.early, c.name);
        BOOST_TEST(counted(before, gateway.counters.drops()) == (c.early ? c.reason : ""), c.name);
        if (c.early)
            BOOST_TEST(gateway.from_device(c.frame) == c.reason, c.name);
    }
}

// What it drops, lan_ingress drops: on frames of any sender, any address, any length, with bytes of noise.
BOOST_AUTO_TEST_CASE(drops_nothing_that_lan_ingress_passes) {
    Gateway gateway;
    std::mt19937 random(7); // NOLINT: a failure must come again
    const auto one_of = [&](const auto& list) { return list[random() % std::size(list)]; };
    const Mac macs[] = {"02:00:00:00:00:12", "02:00:00:00:00:13", "02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff"};
    const char* const from4[] = {"10.20.0.12", "10.20.0.13", "10.20.0.99", "0.0.0.0", "203.0.113.10"};
    const char* const from6[] = {"fd20::12", "fd20::13", "fd20::99", "::", "fe80::1"};
    std::size_t early = 0, passed = 0;
    for (int i = 0; i < 20000; i++) {
        const Ethernet ethernet{.source = one_of(macs)};
        Bytes frame = random() % 2 == 0 ? Bytes(ethernet / IPv4{.source = one_of(from4)} / Tcp{} / Payload{})
                                        : Bytes(ethernet / IPv6{.source = one_of(from6)} / Tcp{} / Payload{});
        if (random() % 4 == 0)
            frame[random() % frame.size()] ^= static_cast<std::uint8_t>(1U << random() % 8);
        const auto verdict = gateway.from_device(frame);
        passed += verdict == "pass" ? 1 : 0;
        if (!dropped_early(gateway, frame))
            continue;
        early++;
        BOOST_TEST(verdict != "pass");
    }
    BOOST_TEST(early > 1000U);
    BOOST_TEST(passed > 500U);
}

BOOST_AUTO_TEST_CASE(without_a_policy_it_drops_nothing) {
    Gateway gateway;
    gateway.forget_policy(0);
    BOOST_TEST(!dropped_early(gateway, Ethernet{.source = kStranger} / IPv4{.source = "10.20.0.99"} / Tcp{}));
}

BOOST_AUTO_TEST_CASE(headers_that_end_early_are_left_to_lan_ingress) {
    Gateway gateway;
    for (const Bytes& whole : {Bytes(Ethernet{.source = kStranger} / IPv4{.source = "10.20.0.99"} / Tcp{}),
                               Bytes(Ethernet{.source = kStranger} / IPv6{.source = "fd20::99"} / Tcp{})}) {
        const std::size_t header = 14 + (whole[12] == 0x86 ? 40 : 20);
        for (std::size_t length = 15; length < header; length++)
            BOOST_TEST(!dropped_early(gateway, Bytes(whole.begin(), whole.begin() + static_cast<long>(length))));
        BOOST_TEST(dropped_early(gateway, Bytes(whole.begin(), whole.begin() + static_cast<long>(header))));
    }
}

BOOST_AUTO_TEST_CASE(stands_in_the_driver_until_it_is_taken_away) {
    Gateway gateway(Gateway::Maps::own);
    const EarlyDrop here(gateway.programs, gateway.options.bpffs);
    std::filesystem::create_directories(gateway.options.bpffs / "links");
    BOOST_TEST(!here.attached(gateway.lan));
    must(here.attach(gateway.lan));
    must(here.attach(gateway.lan)); // again: nothing changes
    BOOST_TEST(here.attached(gateway.lan));
    BOOST_TEST(!here.attached(gateway.wan));
    for (const char* name : {"lan0", "device0"})
        shell(std::string("sysctl -qw net.ipv6.conf.") + name + ".disable_ipv6=1 && ip link set " + name + " up");
    const Wire device("device0");
    const auto before = gateway.counters.drops();
    device.send(Ethernet{.source = kStranger} / IPv4{.source = "10.20.0.99"} / Udp{} / Payload{});
    device.send(Ethernet{} / IPv4{} / Udp{} / Payload{});
    (void)Wire("device0").received({});
    BOOST_TEST(counted(before, gateway.counters.drops()) == "unknown_device");

    const Gateway later(Gateway::Maps::own); // another version of the programs
    const EarlyDrop successor(later.programs, gateway.options.bpffs);
    BOOST_TEST(!successor.attached(gateway.lan));
    must(successor.attach(gateway.lan));
    BOOST_TEST(successor.attached(gateway.lan));
    BOOST_TEST(!here.attached(gateway.lan));
    must(successor.detach(gateway.lan));
    BOOST_TEST(!successor.attached(gateway.lan));
    must(successor.detach(gateway.lan));
}

BOOST_AUTO_TEST_CASE(somebody_elses_program_is_left_alone) {
    Gateway gateway(Gateway::Maps::own);
    const EarlyDrop ours(gateway.programs, gateway.options.bpffs);
    std::filesystem::create_directories(gateway.options.bpffs / "links");
    LIBBPF_OPTS(bpf_link_create_opts, options);
    const Fd other(bpf_link_create(gateway.programs.early_drop_fd(), gateway.other, BPF_XDP, &options));
    BOOST_REQUIRE(other.get() >= 0);
    const auto refused = ours.attach(gateway.other);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().message().find("another XDP program stands there") != std::string::npos);
    BOOST_TEST(!ours.attached(gateway.other));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
