// Layer 5 with real frames and no layer before it: what it makes of each, and what it closes.
#include "agent/datapath/witness.hpp"
#include "tests/bpf/gateway.hpp"
#include "tests/bpf/wire.hpp"

#include <bpf/bpf.h>

#include <sys/stat.h>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Witness;

const Ethernet kOut{.source = "02:00:00:00:00:a1", .destination = "02:00:00:00:00:a2"};
const IPv4 kToPeer{.source = "192.0.2.1", .destination = "192.0.2.2"};
const IPv6 kToPeer6{.source = "2001:db8:2::1", .destination = "2001:db8:2::2"};

struct Watched : Gateway {
    Watched() : Gateway(Maps::own), witness(must(Witness::make(programs, options.bpffs))) {
        BOOST_REQUIRE_MESSAGE(witness.absent().empty(), witness.absent());
        for (const char* name : {"lan0", "device0", "wan0", "peer0", "raw0", "raw1", "other0", "other1"})
            shell(std::string("sysctl -qw net.ipv6.conf.") + name + ".disable_ipv6=1 && ip link set " + name + " up");
        must(witness.attach());
        must(witness.watch());
    }
    ~Watched() { (void)witness.detach(); }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;

    // "esp", "ike", "host", "clear"; "nothing" if it did not look.
    std::string see(const Bytes& frame, const std::string& interface = "wan0") {
        const auto before = witness.counts();
        (void)Wire(interface).send(frame);
        const auto after = witness.counts();
        std::string out;
        for (const auto& [name, count] : {std::pair{"esp", after.esp - before.esp},
                                          {"ike", after.ike - before.ike},
                                          {"host", after.host - before.host},
                                          {"clear", after.clear - before.clear}})
            for (std::uint64_t i = 0; i < count; i++)
                out += (out.empty() ? "" : "+") + std::string(name);
        return out.empty() ? "nothing" : out;
    }

    Witness witness;
};

struct Seen {
    const char* name;
    Packet packet;
    std::string kind;
};

void check(Watched& gateway, const std::vector<Seen>& cases) {
    for (const auto& c : cases) {
        const auto kind = gateway.see(c.packet);
        BOOST_TEST(kind == c.kind, c.name << ": " << kind << ", expected " << c.kind);
        BOOST_TEST(gateway.witness.latched() == (c.kind == "clear"));
        must(gateway.witness.clear());
    }
}

BOOST_AUTO_TEST_SUITE(witness, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(knows_what_is_ours) {
    Watched gateway;
    IPv4 first = kToPeer,
         later{.source = "192.0.2.1", .destination = "192.0.2.2", .protocol = 50, .fragment_offset = 9};
    first.more_fragments = true;
    const Bytes later6{0, 8, 0, 0, 0, 7}, first6{0, 1, 0, 0, 0, 7};
    check(gateway,
          {{"ESP", kOut / kToPeer / Esp{} / Payload{}, "esp"},
           {"ESP, IPv6", kOut / kToPeer6 / Esp{} / Payload{}, "esp"},
           {"ESP with payload that can be read", kOut / kToPeer / Esp{} / IPv4{} / Tcp{}, "esp"},
           {"ESP in UDP", kOut / kToPeer / Udp{4500, 4500} / Esp{}, "esp"},
           {"ESP in UDP, IPv6", kOut / kToPeer6 / Udp{4500, 4500} / Esp{}, "esp"},
           {"first fragment", kOut / first / Esp{} / Payload{}, "esp"},
           {"later fragment", kOut / later / Payload{}, "esp"},
           {"first fragment, IPv6", kOut / kToPeer6 / Extension{.type = 44, .content = first6} / Esp{} / Payload{},
            "esp"},
           {"later fragment, IPv6",
            kOut / kToPeer6 / Extension{.type = 44, .content = later6, .next_header = std::uint8_t{50}} / Payload{},
            "esp"},
           {"ESP in a VLAN", kOut / Vlan{} / kToPeer / Esp{} / Payload{}, "esp"},
           {"IKE", kOut / kToPeer / Udp{500, 500} / Payload{}, "ike"},
           {"IKE at 4500", kOut / kToPeer6 / Udp{4500, 4500} / Payload{{0, 0, 0, 0, 1, 2}}, "ike"},
           {"keepalive", kOut / kToPeer / Udp{4500, 4500} / Payload{{0xff}}, "ike"},
           {"DHCP", kOut / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67}, "host"},
           {"the gateway's own TCP", kOut / IPv4{"192.0.2.1", "198.51.100.9"} / Tcp{}, "host"},
           {"ARP", kOut / Arp{.sender = "192.0.2.1", .target = "192.0.2.2"}, "host"},
           {"neighbour solicitation", kOut / IPv6{"fe80::2", "ff02::1:ff00:2", {}, 255} / neighbour_solicit("fe80::9"),
            "host"},
           {"LLDP", kOut / Payload{}, "host"}});
}

BOOST_AUTO_TEST_CASE(knows_a_frame_in_clear) {
    Watched gateway;
    Bytes quote{0, 0, 0, 0};
    put(quote, Bytes(Packet(IPv4{"203.0.113.10", "10.20.0.12"}) / Udp{}));
    Bytes quote6{0, 0, 0, 0};
    put(quote6, Bytes(Packet(IPv6{"2001:db8:203::10", "fd20::12"}) / Udp{}));
    const IPv4 stranger{"192.0.2.1", "198.51.100.9"};
    const IPv6 stranger6{"2001:db8:2::1", "2001:db8:9::9"};
    check(gateway,
          {{"a device's TCP", kOut / IPv4{} / Tcp{}, "clear"},
           {"a device's TCP, IPv6", kOut / IPv6{} / Tcp{}, "clear"},
           {"a device to anywhere", kOut / IPv4{"10.20.0.12", "198.51.100.9"} / Udp{}, "clear"},
           {"to a service", kOut / IPv4{"192.0.2.1", "203.0.113.10"} / Udp{}, "clear"},
           {"to a device", kOut / IPv6{"2001:db8:2::1", "fd20::12"} / Udp{}, "clear"},
           {"of the LAN's address", kOut / IPv4{"10.20.0.1", "198.51.100.9"} / Tcp{}, "clear"},
           {"a device's ESP to the peer", kOut / IPv4{"10.20.0.12", "192.0.2.2"} / Esp{}, "clear"},
           {"a device's IKE to the peer", kOut / IPv4{"10.20.0.12", "192.0.2.2"} / Udp{500, 500}, "clear"},
           {"a device's fragment",
            kOut / IPv4{.source = "10.20.0.12", .destination = "192.0.2.2", .fragment_offset = 9} / Payload{}, "clear"},
           {"ESP of an SA nobody knows", kOut / kToPeer / Esp{7} / Payload{}, "clear"},
           {"ESP to somebody else", kOut / IPv4{"192.0.2.1", "192.0.2.3"} / Esp{}, "clear"},
           {"the same in UDP", kOut / kToPeer / Udp{4500, 4500} / Esp{7}, "clear"},
           {"in a VLAN", kOut / Vlan{} / IPv4{} / Tcp{}, "clear"},
           {"in two VLANs", kOut / Vlan{.tpid = 0x88a8} / Vlan{} / IPv6{} / Tcp{}, "clear"},
           {"ARP for a device", kOut / Arp{.sender = "192.0.2.1", .target = "10.20.0.12"}, "clear"},
           {"ARP of a device", kOut / Arp{}, "clear"},
           {"solicitation of a device",
            kOut / IPv6{"fe80::2", "ff02::1:ff00:12", {}, 255} / neighbour_solicit("fd20::12"), "clear"},
           {"an error that quotes", kOut / stranger / Icmp{.type = 3, .code = 1, .rest = quote}, "clear"},
           {"an error that quotes, IPv6", kOut / stranger6 / Icmpv6{.type = 1, .rest = quote6}, "clear"}});
}

BOOST_AUTO_TEST_CASE(sees_pppoe) {
    Watched gateway;
    const auto session = [](std::uint16_t protocol, const Bytes& inner) {
        Bytes out = kOut / Payload{{}};
        out.resize(14);
        set16(out, 12, 0x8864);
        put(out, {0x11, 0, 0, 1}), put16(out, static_cast<std::uint16_t>(inner.size() + 2)), put16(out, protocol);
        put(out, inner);
        return out;
    };
    BOOST_TEST(gateway.see(session(0x21, Packet(IPv4{}) / Tcp{})) == "clear");
    BOOST_TEST(gateway.see(session(0x57, Packet(IPv6{}) / Tcp{})) == "clear");
    BOOST_TEST(gateway.see(session(0x21, Packet(kToPeer) / Esp{})) == "esp");
    BOOST_TEST(gateway.see(session(0xc021, Bytes(20, 1))) == "host"); // LCP
}

BOOST_AUTO_TEST_CASE(looks_at_its_own_namespace_and_the_uplinks_side_only) {
    Watched gateway;
    const Bytes clear = kOut / IPv4{} / Tcp{};
    BOOST_TEST(gateway.see(clear, "other0") == "clear");       // an interface nobody registered
    BOOST_TEST(gateway.see(kOut / Arp{}, "other0") == "host"); // where the gateway may have such an address
    BOOST_TEST(gateway.see(kOut / Arp{}) == "clear");
    BOOST_TEST(gateway.see(clear, "lan0") == "nothing");
    BOOST_TEST(gateway.see(clear, "tun0") == "nothing");
    must(gateway.witness.look_away());
    BOOST_TEST(!gateway.witness.watching());
    BOOST_TEST(gateway.see(clear) == "nothing");
    // As if it watched another namespace.
    const auto map = must(gateway.programs.map_fd("gate"));
    const std::uint32_t entry = PENSTOCK_GATE_WITNESSED_NETNS, another = 0xeffffff0;
    BOOST_REQUIRE(bpf_map_update_elem(map.get(), &entry, &another, BPF_ANY) == 0);
    BOOST_TEST(gateway.see(clear) == "nothing");
}

// An address that says nothing of a device: masqueraded, or of a device nobody knows.
BOOST_AUTO_TEST_CASE(a_forwarded_frame_is_clear_whatever_its_address) {
    Watched gateway;
    shell("ip addr add 10.99.0.1/24 dev lan0; ip addr add 192.0.2.1/24 dev wan0; sysctl -qw net.ipv4.ip_forward=1 "
          "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.lan0.rp_filter=0; ip link set lan0 address 02:00:00:00:00:01; "
          "ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:a9 dev wan0 nud permanent");
    const auto before = gateway.witness.counts();
    const Wire device("device0"), peer("peer0");
    device.send(Ethernet{} / IPv4{"10.99.0.5", "192.0.2.9"} / Udp{} / Payload{});
    (void)peer.received({}); // until it has gone
    shell(
        "sysctl -qw net.ipv4.ip_forward=0; ip addr flush dev lan0; ip addr flush dev wan0; ip neigh flush all nud all");
    BOOST_TEST(gateway.witness.counts().clear == before.clear + 1);
    const auto first = gateway.witness.first();
    BOOST_REQUIRE(first.has_value());
    BOOST_TEST(first->forwarded);
    BOOST_TEST(first->source.str() == "10.99.0.5");
    BOOST_TEST(first->destination.str() == "192.0.2.9");
    BOOST_TEST(first->ifindex == gateway.wan);
    BOOST_TEST(first->proto == 17);
}

BOOST_AUTO_TEST_CASE(latches_with_no_process_alive_and_keeps_the_first) {
    Watched gateway;
    gateway.witness =
        must(Witness::make(gateway.programs, gateway.options.bpffs)); // another process's view of the pins
    BOOST_TEST(gateway.witness.attached());
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
    BOOST_TEST(gateway.see(kOut / IPv4{} / Tcp{}) == "clear");
    BOOST_TEST(gateway.see(kOut / IPv6{} / Tcp{}) == "clear");
    BOOST_TEST(gateway.witness.first()->source.str() == "10.20.0.12");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "latched");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv6{} / Udp{}) == "latched");
    must(gateway.witness.clear());
    BOOST_TEST(!gateway.witness.first().has_value());
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{}) == "pass");
}

BOOST_AUTO_TEST_CASE(an_upgrade_knows_what_was_seen_before_it) {
    Watched gateway;
    const auto before = gateway.options.bpffs / "maps-1";
    std::filesystem::create_directory(before);
    const datapath::TypedMap<std::uint32_t, std::uint32_t> old(
        "gate", Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "gate", 4, 4, 3, nullptr)));
    must(old.put(PENSTOCK_GATE_LATCH, 1));
    BOOST_REQUIRE(bpf_obj_pin(old.fd(), (before / "gate").c_str()) == 0);
    BOOST_TEST(!gateway.witness.latched());
    auto witness = must(Witness::make(gateway.programs, gateway.options.bpffs));
    BOOST_TEST(witness.latched());
    BOOST_TEST(!witness.first().has_value());
    must(witness.clear());
    BOOST_TEST(!must(Witness::make(gateway.programs, gateway.options.bpffs)).latched());
}

BOOST_AUTO_TEST_CASE(an_upgrade_replaces_it) {
    Watched gateway;
    const auto next = must(datapath::Programs::load(gateway.options));
    auto witness = must(Witness::make(next, gateway.options.bpffs));
    BOOST_TEST(!witness.attached()); // the predecessor's
    must(witness.attach());
    BOOST_TEST(witness.attached());
    BOOST_TEST(!gateway.witness.attached());
    BOOST_TEST(witness.watching());
    gateway.witness =
        must(Witness::make(gateway.programs, gateway.options.bpffs)); // its process ends: it holds no link
    for (int i = 0; i < 100 && gateway.see(kOut / IPv4{} / Tcp{}) != "clear";
         i++) // the kernel frees the old link later
        ;
    BOOST_TEST(gateway.see(kOut / IPv4{} / Tcp{}) == "clear");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
