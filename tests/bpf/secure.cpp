// `require: tls | dtls`: no byte that is neither passes, in either direction.
#include "tests/bpf/gateway.hpp"

#include <netinet/in.h>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

constexpr std::uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10, kPushAck = 0x18;

Bytes record(std::uint8_t type, std::uint8_t minor = 1, std::uint16_t length = 64, std::uint8_t major = 3) {
    Bytes out(69, 0x5a);
    out[0] = type;
    out[1] = major;
    out[2] = minor;
    set16(out, 3, length);
    return out;
}
Bytes datagram(std::uint8_t type, std::uint8_t minor = 0xfd, std::uint16_t length = 40) {
    Bytes out(53, 0);
    out[0] = type;
    out[1] = 0xfe;
    out[2] = minor;
    set16(out, 11, length);
    return out;
}

// TCP and UDP of device 12 need TLS and DTLS; family: "4" or "6".
struct Secured : Gateway {
    explicit Secured(bool ipv6 = false) : six(ipv6) {
        auto tables = policy();
        for (auto& rule : tables.blocks[0].rules)
            rule.require = rule.proto == IPPROTO_TCP ? datapath::Require::tls : datapath::Require::dtls;
        enforce(tables);
    }
    std::string out(std::uint8_t flags, const Bytes& data = {}) {
        const Tcp tcp{40000, 443, flags};
        return from_device(six ? Bytes(Ethernet{} / IPv6{} / tcp / Payload{data})
                               : Bytes(Ethernet{} / IPv4{} / tcp / Payload{data}));
    }
    std::string in(std::uint8_t flags, const Bytes& data = {}) {
        const Tcp tcp{443, 40000, flags};
        return to_device(six ? Bytes(Ethernet{} / IPv6{"2001:db8:203::10", "fd20::12"} / tcp / Payload{data})
                             : Bytes(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / tcp / Payload{data}));
    }
    std::string send(const Bytes& data) { return from_device(Ethernet{} / IPv4{} / Udp{} / Payload{data}); }
    std::string receive(const Bytes& data) {
        return to_device(Ethernet{} / IPv4{"203.0.113.10", "10.20.0.12"} / Udp{5000, 40000} / Payload{data});
    }
    bool six;
};

BOOST_AUTO_TEST_SUITE(secure, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(data_does_not_hide_behind_a_first_fragment_without_any) {
    Secured g;
    BOOST_TEST(g.out(kSyn) == "pass");
    Bytes header = Ethernet{} / IPv4{.protocol = IPPROTO_TCP, .more_fragments = true} / Tcp{40000, 443, kPushAck} /
                   Payload{Bytes(4, 1)};
    header[14 + 20 + 12] = 0x60; // the four bytes are options
    BOOST_TEST(g.from_device(header) == "not_tls");
    BOOST_TEST(g.out(kPushAck, record(22)) == "pass");
    BOOST_TEST(g.from_device(header) == "pass");
}

BOOST_AUTO_TEST_CASE(a_tls_handshake_and_what_follows_passes) {
    for (const bool six : {false, true}) {
        Secured g(six);
        BOOST_TEST(g.out(kSyn) == "pass");
        BOOST_TEST(g.in(kSynAck) == "pass");
        BOOST_TEST(g.out(kAck) == "pass");
        BOOST_TEST(g.out(kPushAck, record(22)) == "pass");
        BOOST_TEST(g.in(kAck) == "pass");
        BOOST_TEST(g.in(kPushAck, record(22, 3)) == "pass");
        BOOST_TEST(g.out(kPushAck, Bytes(1000, 0x77)) == "pass"); // the middle of a record
        BOOST_TEST(g.in(kPushAck, Bytes(1000, 0x77)) == "pass");
    }
}

BOOST_AUTO_TEST_CASE(nothing_else_passes_as_the_first_data) {
    struct {
        const char* name;
        Bytes data;
        std::string verdict;
    } const cases[] = {{"HTTP", {'G', 'E', 'T', ' ', '/', ' ', 'H'}, "not_tls"},
                       {"one byte", {22}, "not_tls"},
                       {"half a header", {22, 3, 1, 0}, "not_tls"},
                       {"a header", {22, 3, 1, 0, 64}, "pass"},
                       {"application data", record(23), "not_tls"},
                       {"alert", record(21), "not_tls"},
                       {"change cipher spec", record(20), "not_tls"},
                       {"TLS 1.0", record(22, 1), "pass"},
                       {"SSL 3.0's number", record(22, 0), "pass"},
                       {"TLS 1.3's number", record(22, 4), "pass"},
                       {"a version to come", record(22, 5), "not_tls"},
                       {"SSL 2", record(22, 0, 64, 2), "not_tls"},
                       {"empty", record(22, 1, 0), "not_tls"},
                       {"longest", record(22, 1, 16640), "pass"},
                       {"too long", record(22, 1, 16641), "not_tls"}};
    for (const bool six : {false, true})
        for (const auto& c : cases) {
            Secured g(six);
            BOOST_TEST(g.out(kSyn) == "pass");
            BOOST_TEST(g.out(kPushAck, c.data) == c.verdict, c.name);
            Secured fast(six);
            BOOST_TEST(fast.out(kSyn, c.data) == c.verdict, c.name << " with the SYN");
            Secured late(six); // without a SYN: after an eviction, or forged
            BOOST_TEST(late.out(kPushAck, c.data) == c.verdict, c.name << " out of nothing");
        }
}

BOOST_AUTO_TEST_CASE(a_segment_that_overtook_the_first_one_waits) {
    Secured g;
    BOOST_TEST(g.out(kSyn) == "pass");
    BOOST_TEST(g.out(kPushAck, Bytes(100, 0x77)) == "not_tls");
    BOOST_TEST(g.out(kPushAck, record(22)) == "pass");
    BOOST_TEST(g.out(kPushAck, Bytes(100, 0x77)) == "pass"); // it comes again
}

BOOST_AUTO_TEST_CASE(a_server_that_answers_in_clear_is_dropped) {
    Secured g;
    BOOST_TEST(g.out(kSyn) == "pass");
    BOOST_TEST(g.in(kSynAck) == "pass");
    BOOST_TEST(g.in(kPushAck, record(22)) == "not_tls"); // before the client spoke
    BOOST_TEST(g.out(kPushAck, record(22)) == "pass");
    BOOST_TEST(g.in(kPushAck, {'2', '2', '0', ' ', 'h', 'i', '\n'}) == "not_tls");
    BOOST_TEST(g.in(kPushAck, record(23)) == "not_tls");
    BOOST_TEST(g.in(kPushAck, record(21, 3, 2)) == "pass"); // an alert may be all it says
    BOOST_TEST(g.in(kPushAck, Bytes(10, 0)) == "pass");
}

BOOST_AUTO_TEST_CASE(a_new_connection_on_the_same_ports_starts_anew) {
    Secured g;
    BOOST_TEST(g.out(kSyn) == "pass");
    BOOST_TEST(g.out(kPushAck, record(22)) == "pass");
    BOOST_TEST(g.out(kSyn) == "pass");
    BOOST_TEST(g.out(kPushAck, Bytes(100, 0x77)) == "not_tls");
    BOOST_TEST(g.in(kPushAck, record(22)) == "not_tls");
    BOOST_TEST(g.out(kPushAck, record(22)) == "pass");
}

BOOST_AUTO_TEST_CASE(a_policy_that_begins_to_require_it_stops_a_running_connection) {
    Secured g;
    g.enforce(Gateway::policy());
    BOOST_TEST(g.out(kSyn) == "pass");
    BOOST_TEST(g.out(kPushAck, Bytes(100, 0x77)) == "pass");
    Secured again; // shares the maps: the policy requires TLS again
    BOOST_TEST(g.out(kSyn) == "pass");
    auto tables = Gateway::policy();
    g.enforce(tables);
    BOOST_TEST(g.out(kPushAck, Bytes(100, 0x77)) == "pass");
    for (auto& rule : tables.blocks[0].rules)
        rule.require = rule.proto == IPPROTO_TCP ? datapath::Require::tls : datapath::Require::dtls;
    g.enforce(tables);
    BOOST_TEST(g.out(kPushAck, Bytes(100, 0x77)) == "not_tls");
    BOOST_TEST(g.in(kPushAck, Bytes(100, 0x77)) == "not_tls");
    BOOST_TEST(g.out(kAck) == "pass");
}

BOOST_AUTO_TEST_CASE(a_rule_without_it_is_enough) {
    Gateway gateway;
    auto strict = rule("tcp", "203.0.113.0/24", 443, 443);
    strict.require = datapath::Require::tls;
    gateway.enforce_rules({strict, rule("tcp", "203.0.113.10/32", 443, 443)});
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{} / Payload{}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{.destination = "203.0.113.11"} / Tcp{} / Payload{}) == "not_tls");
}

BOOST_AUTO_TEST_CASE(every_datagram_is_dtls) {
    Secured g;
    BOOST_TEST(g.send(Bytes(40, 0x77)) == "not_tls");
    BOOST_TEST(g.send({}) == "pass"); // says nothing
    BOOST_TEST(g.send(datagram(23)) == "not_tls");
    BOOST_TEST(g.send(datagram(22, 0xfc)) == "pass");
    BOOST_TEST(g.send(datagram(22, 0xff)) == "pass");
    BOOST_TEST(g.send(datagram(22, 0xfe)) == "not_tls");
    BOOST_TEST(g.send(datagram(22, 0xfd, 41)) == "not_tls"); // longer than the datagram
    BOOST_TEST(g.send(datagram(22)) == "pass");
    BOOST_TEST(g.receive(datagram(23)) == "not_tls");
    BOOST_TEST(g.receive(Bytes(40, 0x77)) == "not_tls");
    BOOST_TEST(g.receive(datagram(22)) == "pass");
    BOOST_TEST(g.send(datagram(23)) == "pass");
    BOOST_TEST(g.receive(datagram(25, 0xfd, 9999)) == "pass"); // RFC 9146: a connection ID before the length
    BOOST_TEST(g.send({0x2f, 1, 2, 3, 4}) == "pass");          // RFC 9147's unified header
    BOOST_TEST(g.send({0x2f, 1}) == "not_tls");
    BOOST_TEST(g.send(Bytes(40, 0x77)) == "not_tls");
    BOOST_TEST(g.receive(datagram(27)) == "not_tls");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
