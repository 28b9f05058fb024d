// Fragments: the first is judged, later ones pass only behind it; both families, both directions.
#include "tests/bpf/gateway.hpp"

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

// A UDP datagram of 8 + 32 bytes in two fragments. Places and sizes in units of 8 bytes.
struct Pieces {
    Gateway& gateway;
    bool six;
    bool in = false;
    std::uint16_t port = 5000;
    std::uint16_t id = 0x1234;
    std::string cloud = six ? "2001:db8:203::10" : "203.0.113.10";

    [[nodiscard]] Packet ip(std::uint16_t offset, bool more) const {
        const std::string device = six ? "fd20::12" : "10.20.0.12";
        const std::string from = in ? cloud : device, to = in ? device : cloud;
        if (!six)
            return Ethernet{} / IPv4{.source = from,
                                     .destination = to,
                                     .protocol = 17,
                                     .fragment_offset = offset,
                                     .more_fragments = more,
                                     .id = id};
        const auto where = static_cast<std::uint16_t>(offset << 3 | (more ? 1 : 0));
        return Ethernet{} / IPv6{.source = from, .destination = to} /
               Extension{.type = 44,
                         .content = {static_cast<std::uint8_t>(where >> 8), static_cast<std::uint8_t>(where), 0, 0,
                                     static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id)},
                         .next_header = std::uint8_t{17}};
    }
    [[nodiscard]] std::string judge(const Packet& packet) const {
        return in ? gateway.to_device(packet) : gateway.from_device(packet);
    }
    [[nodiscard]] Packet first_frame(std::size_t data = 16) const {
        return ip(0, true) / (in ? Udp{port, 40000} : Udp{40000, port}) / Payload{Bytes(data, 0x42)};
    }
    [[nodiscard]] Packet later_frame(std::uint16_t offset = 3) const {
        return ip(offset, false) / Payload{Bytes(16, 0x42)};
    }
    [[nodiscard]] std::string first(std::size_t data = 16) const { return judge(first_frame(data)); }
    [[nodiscard]] std::string later(std::uint16_t offset = 3) const { return judge(later_frame(offset)); }
};

BOOST_AUTO_TEST_SUITE(fragments, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(later_ones_pass_only_behind_their_first) {
    for (const bool six : {false, true})
        for (const bool in : {false, true}) {
            Gateway gateway;
            BOOST_REQUIRE(gateway.from_device(six ? Bytes(Ethernet{} / IPv6{} / Udp{})
                                                  : Bytes(Ethernet{} / IPv4{} / Udp{})) == "pass");
            Pieces pieces{gateway, six, in};
            BOOST_TEST(pieces.later() == "fragment");
            BOOST_TEST(pieces.first() == "pass");
            BOOST_TEST(pieces.later() == "pass");
            BOOST_TEST(pieces.later(5) == "pass");
            BOOST_TEST(pieces.later(2) == "fragment"); // overlaps what was judged
            BOOST_TEST(pieces.later(1) == "fragment");
            pieces.id = 0x1235;
            BOOST_TEST(pieces.later() == "fragment");
            pieces.id = 0x1234;
            pieces.in = !in;
            BOOST_TEST(pieces.later() == "fragment");
        }
}

BOOST_AUTO_TEST_CASE(a_first_one_that_is_refused_opens_nothing) {
    for (const bool six : {false, true}) {
        Gateway gateway;
        const Pieces pieces{gateway, six, false, 4999};
        BOOST_TEST(pieces.first() == "not_allowed");
        BOOST_TEST(pieces.later() == "fragment");
        const Pieces odd{gateway, six};
        BOOST_TEST(odd.first(17) == "fragment"); // no multiple of 8
        BOOST_TEST(odd.later() == "fragment");
    }
}

BOOST_AUTO_TEST_CASE(a_first_one_without_its_whole_header_is_malformed) {
    Gateway gateway;
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.protocol = 6, .more_fragments = true} / Payload{Bytes(8, 0)}) ==
               "malformed");
}

BOOST_AUTO_TEST_CASE(a_new_policy_ends_them) {
    for (const bool six : {false, true}) {
        Gateway gateway;
        const Pieces pieces{gateway, six};
        BOOST_TEST(pieces.first() == "pass");
        gateway.enforce(Gateway::policy());
        BOOST_TEST(pieces.later() == "fragment");
    }
}

BOOST_AUTO_TEST_CASE(they_need_the_tunnel_too) {
    Gateway gateway;
    const Pieces pieces{gateway, false};
    BOOST_TEST(pieces.first() == "pass");
    must(gateway.gate.set_tunnel(0, false));
    BOOST_TEST(pieces.later() == "tunnel_down");
}

BOOST_AUTO_TEST_CASE(four_packets_at_a_time_are_kept_track_of) {
    for (const bool six : {false, true}) {
        Gateway gateway;
        Pieces pieces{gateway, six};
        for (std::uint16_t id = 1; id <= 4; id++) {
            pieces.id = id;
            BOOST_TEST(pieces.first() == "pass");
        }
        for (std::uint16_t id = 1; id <= 4; id++) {
            pieces.id = id;
            BOOST_TEST(pieces.later() == "pass");
        }
        for (std::uint16_t id = 5; id <= 200; id++) {
            pieces.id = id;
            BOOST_TEST(pieces.first() == "pass");
            BOOST_TEST(pieces.later() == "pass");
        }
    }
}

// Out and in are kept track of each by itself. Out takes the last place that is free, and in must not take it again.
BOOST_AUTO_TEST_CASE(a_device_that_speaks_to_itself_by_way_of_the_gateway_does_not_evict_itself) {
    const datapath::Rule to_itself{
        .peer = datapath::Peer::device, .index = 1, .proto = 17, .port_low = 5000, .port_high = 5000};
    for (const bool six : {false, true})
        for (std::uint16_t id = 10; id < 18; id++) {
            Gateway gateway;
            const std::string cloud = six ? "2001:db8:203::10" : "203.0.113.10";
            gateway.enforce_rules({to_itself, rule("udp", cloud + (six ? "/128" : "/32"), 5000, 5000)});
            for (std::uint16_t other = 1; other <= 3; other++)
                BOOST_TEST((Pieces{.gateway = gateway, .six = six, .id = other}.first()) == "pass");
            const std::string itself = six ? "fd20::12" : "10.20.0.12";
            const Pieces pieces{.gateway = gateway, .six = six, .id = id, .cloud = itself};
            BOOST_TEST(pieces.first() == "pass");
            BOOST_TEST(gateway.device_to_device(pieces.first_frame()) == "pass");
            BOOST_TEST(pieces.later() == "pass");
            BOOST_TEST(gateway.device_to_device(pieces.later_frame()) == "pass");
        }
}

BOOST_AUTO_TEST_CASE(extension_headers_are_walked_to_a_bound) {
    const Extension options{.type = 60};
    const auto behind = [&](int count) {
        Packet out = Ethernet{} / IPv6{};
        for (int i = 0; i < count; i++)
            out /= options;
        return out / Tcp{};
    };
    Gateway gateway;
    BOOST_TEST(gateway.from_device(behind(7)) == "pass");
    BOOST_TEST(gateway.from_device(behind(8)) == "ip_options");
    BOOST_TEST(gateway.from_device(behind(1) / Payload{}) == "pass");
    const Packet other = Ethernet{} / IPv6{} / Extension{.type = 60} / Tcp{.destination = 80};
    BOOST_TEST(gateway.from_device(other) == "not_allowed");
    const Packet first = Ethernet{} / IPv6{} / Extension{.type = 44, .content = {0, 1, 0, 0, 0, 7}} /
                         Extension{.type = 60} / Udp{} / Payload{Bytes(8, 0)};
    const Packet later = Ethernet{} / IPv6{} /
                         Extension{.type = 44, .content = {0, 24, 0, 0, 0, 7}, .next_header = std::uint8_t{60}} /
                         Payload{};
    BOOST_TEST(gateway.from_device(first) == "pass");
    BOOST_TEST(gateway.from_device(later) == "pass");
    const Bytes whole = behind(3);
    for (std::size_t length = 15; length < whole.size(); length++) {
        const auto verdict =
            Gateway::truncated([&](const Bytes& frame) { return gateway.from_device(frame); }, whole, length);
        BOOST_TEST(verdict.value_or("malformed") == "malformed");
    }
    Packet twice = Ethernet{} / IPv6{} / Extension{.type = 44, .content = Bytes{0, 1, 0, 0, 0, 7}} /
                   Extension{.type = 44, .content = Bytes{0, 8, 0, 0, 0, 7}} / Udp{} / Payload{Bytes(8, 0)};
    BOOST_TEST(gateway.from_device(twice) == "malformed");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
