// policy/oracle_gateway: the judge with a memory, one story a case.
#include "policy/oracle_gateway.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

const std::string kBook = R"(fleet: f
version: 1
expires: 2030-01-01T00:00:00Z
gateways: [g]
services:
  web:   { to: [203.0.113.0/24], ports: [tcp/443, udp/53, icmp/echo-request] }
  safe:  { to: [198.51.100.0/24], ports: [tcp/8883], require: tls }
  coaps: { to: [198.51.100.0/24], ports: [udp/5684], require: dtls }
  shell: { from: [192.0.2.0/24, "group:desks"], ports: [tcp/22] }
  print: { to: ["device:d2"], ports: [tcp/631] }
groups:
  all:   { allow: [web, safe, coaps, shell] }
  desks: { allow: [print] }
devices:
  - { name: d1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1], groups: [all, desks] }
  - { name: d2, mac: "02:00:00:00:00:02", addresses: [10.0.0.2], groups: [all] }
)";

const char* const kWeb = "203.0.113.1";
const char* const kSafe = "198.51.100.1";
const char* const kAdmin = "192.0.2.1";
const char* const kOne = "10.0.0.1";
const char* const kTwo = "10.0.0.2";

Transit transit(const char* source, const char* destination, std::uint8_t proto, std::uint16_t from, std::uint16_t to) {
    Transit out;
    out.packet.source = *IpAddress::parse(source);
    out.packet.destination = *IpAddress::parse(destination);
    out.packet.proto = proto;
    out.packet.source_port = from;
    out.packet.destination_port = to;
    const auto& s = out.packet.source;
    if (s.bytes[0] == 10)
        out.packet.mac = *MacAddress::parse("02:00:00:00:00:0" + std::to_string(s.bytes[3]));
    else
        out.packet.came = Came::out_of_tunnel;
    return out;
}
Transit tcp(const char* source, std::uint16_t from, const char* destination, std::uint16_t to,
            std::vector<std::uint8_t> data = {}, std::uint8_t flags = kTcpAck) {
    Transit out = transit(source, destination, 6, from, to);
    out.data = std::move(data);
    out.tcp_flags = flags;
    return out;
}
Transit udp(const char* source, std::uint16_t from, const char* destination, std::uint16_t to,
            std::vector<std::uint8_t> data = {}) {
    Transit out = transit(source, destination, 17, from, to);
    out.data = std::move(data);
    return out;
}
Transit icmp(const char* source, const char* destination, std::uint8_t type, std::uint16_t id = 7) {
    Transit out = transit(source, destination, 1, 0, type);
    out.echo_id = id;
    return out;
}
Transit unreachable(const char* source, const char* destination, Quoted quoted) {
    Transit out = icmp(source, destination, 3);
    out.quoted = std::move(quoted);
    return out;
}
Quoted quote_udp(const char* source, std::uint16_t from, const char* destination, std::uint16_t to) {
    return {.source = *IpAddress::parse(source),
            .destination = *IpAddress::parse(destination),
            .proto = 17,
            .source_port = from,
            .destination_port = to};
}

const std::vector<std::uint8_t> kClientHello{22, 3, 1, 0, 200, 1, 0, 0, 196}, kText{'G', 'E', 'T', ' ', '/', ' '};

struct Book {
    Policy policy = read_ok(kBook);
    Time at = *parse_time("2026-11-20T12:00:00Z");
    Gateway gateway{policy, at};
    void expect(const Transit& transit, Reason reason) {
        const Verdict verdict = gateway.judge(transit);
        BOOST_CHECK_MESSAGE(verdict.reason == reason && verdict.allow == (reason == Reason::allowed),
                            reason_name(reason)
                                << " expected, but " << reason_name(verdict.reason) << ": " << verdict.citation);
    }
    void passes(const Transit& transit) { expect(transit, Reason::allowed); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(policy_gateway, Book)

BOOST_AUTO_TEST_CASE(answers_pass_and_nothing_else_does) {
    expect(tcp(kWeb, 443, kOne, 5000), Reason::no_flow);
    passes(tcp(kOne, 5000, kWeb, 443));
    passes(tcp(kWeb, 443, kOne, 5000));
    expect(tcp(kWeb, 443, kOne, 5001), Reason::no_flow);
    expect(tcp(kWeb, 444, kOne, 5000), Reason::no_flow);
    expect(tcp("203.0.113.2", 443, kOne, 5000), Reason::no_flow);
    expect(udp(kWeb, 443, kOne, 5000), Reason::no_flow);
    expect(tcp(kWeb, 443, kTwo, 5000), Reason::no_flow);
    expect(tcp(kOne, 5000, kWeb, 80), Reason::not_allowed);
}

BOOST_AUTO_TEST_CASE(the_cloud_begins_what_a_from_service_allows) {
    passes(tcp(kAdmin, 40000, kOne, 22, {}, kTcpSyn));
    passes(tcp(kOne, 22, kAdmin, 40000, {}, kTcpSyn | kTcpAck));
    expect(tcp(kOne, 22, kAdmin, 40001), Reason::not_allowed);
    expect(tcp(kAdmin, 40000, kOne, 23), Reason::no_flow);
    expect(tcp(kWeb, 40000, kOne, 22), Reason::no_flow);
}

BOOST_AUTO_TEST_CASE(a_syn_alone_is_never_an_answer) {
    passes(tcp(kOne, 5000, kWeb, 443, {}, kTcpSyn));
    expect(tcp(kWeb, 443, kOne, 5000, {}, kTcpSyn), Reason::not_allowed);
    passes(tcp(kWeb, 443, kOne, 5000, {}, kTcpSyn | kTcpAck));
}

BOOST_AUTO_TEST_CASE(echo_goes_one_way) {
    expect(icmp(kWeb, kOne, 0), Reason::no_flow);
    expect(icmp(kOne, kWeb, 0), Reason::not_allowed); // begins nothing
    passes(icmp(kOne, kWeb, 8));
    passes(icmp(kWeb, kOne, 0));
    expect(icmp(kWeb, kOne, 0, 8), Reason::no_flow);
    expect(icmp(kWeb, kOne, 8), Reason::no_flow);
    expect(icmp(kOne, kWeb, 13), Reason::not_allowed);
}

BOOST_AUTO_TEST_CASE(errors_belong_to_a_flow) {
    const auto about = quote_udp(kOne, 5000, kWeb, 53);
    expect(unreachable(kWeb, kOne, about), Reason::no_flow);
    passes(udp(kOne, 5000, kWeb, 53));
    passes(unreachable(kWeb, kOne, about));
    passes(unreachable("198.18.0.1", kOne, about)); // a router on the way
    expect(unreachable(kWeb, kTwo, about), Reason::no_flow);
    expect(unreachable(kWeb, kOne, quote_udp(kOne, 5001, kWeb, 53)), Reason::no_flow);
    passes(unreachable(kOne, kWeb, quote_udp(kWeb, 53, kOne, 5000)));
    expect(unreachable(kOne, "203.0.113.9", quote_udp(kWeb, 53, kOne, 5000)), Reason::not_allowed);
}

BOOST_AUTO_TEST_CASE(devices_reach_devices_where_one_of_them_says_so) {
    passes(tcp(kOne, 5000, kTwo, 631));
    passes(tcp(kTwo, 631, kOne, 5000));
    passes(tcp(kOne, 5001, kTwo, 22)); // d2's own `from`: desks
    expect(tcp(kTwo, 5001, kOne, 22), Reason::not_allowed);
    expect(tcp(kTwo, 5002, kOne, 631), Reason::not_allowed);
}

BOOST_AUTO_TEST_CASE(tls_is_shown_by_the_first_data_of_each_side) {
    passes(tcp(kOne, 5000, kSafe, 8883, {}, kTcpSyn));
    expect(tcp(kSafe, 8883, kOne, 5000, kClientHello), Reason::not_tls); // who began speaks first
    expect(tcp(kOne, 5000, kSafe, 8883, kText), Reason::not_tls);
    expect(tcp(kOne, 5000, kSafe, 8883, {22, 3, 1, 0}), Reason::not_tls); // split
    passes(tcp(kOne, 5000, kSafe, 8883, kClientHello));
    passes(tcp(kOne, 5000, kSafe, 8883, kText));
    expect(tcp(kSafe, 8883, kOne, 5000, kText), Reason::not_tls);
    passes(tcp(kSafe, 8883, kOne, 5000, {21, 3, 3, 0, 2, 2, 40})); // an alert
    passes(tcp(kSafe, 8883, kOne, 5000, kText));
    passes(tcp(kOne, 5000, kSafe, 8883, {}, kTcpSyn)); // anew
    expect(tcp(kOne, 5000, kSafe, 8883, kText), Reason::not_tls);
    expect(tcp(kOne, 5001, kSafe, 8883, kText, kTcpSyn), Reason::not_tls); // data in the SYN
    expect(tcp(kOne, 5002, kSafe, 8883, {21, 3, 3, 0, 2, 2, 40}), Reason::not_tls);
    expect(tcp(kOne, 5002, kSafe, 8883, {22, 3, 1, 0, 0}), Reason::not_tls);
    expect(tcp(kOne, 5002, kSafe, 8883, {22, 3, 1, 65, 1}), Reason::not_tls);
    passes(tcp(kOne, 5002, kSafe, 8883, {22, 3, 1, 65, 0}));
}

BOOST_AUTO_TEST_CASE(dtls_is_shown_by_every_datagram) {
    std::vector<std::uint8_t> hello{22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, data = hello;
    data[0] = 23;
    expect(udp(kOne, 5000, kSafe, 5684, {0x40, 1, 2, 3}), Reason::not_dtls);
    expect(udp(kOne, 5000, kSafe, 5684, data), Reason::not_dtls);
    passes(udp(kOne, 5000, kSafe, 5684, hello));
    passes(udp(kOne, 5000, kSafe, 5684, data));
    passes(udp(kOne, 5000, kSafe, 5684, {0x2f, 1, 2}));
    expect(udp(kOne, 5000, kSafe, 5684, {0x40, 1, 2, 3}), Reason::not_dtls);
    expect(udp(kSafe, 5684, kOne, 5000, data), Reason::not_dtls);
    passes(udp(kSafe, 5684, kOne, 5000, hello));
    hello.pop_back();
    expect(udp(kOne, 5001, kSafe, 5684, hello), Reason::not_dtls); // the record ends beyond the datagram
}

BOOST_AUTO_TEST_CASE(later_fragments_follow_their_first) {
    Transit first = udp(kOne, 5000, kWeb, 53), later = transit(kOne, kWeb, 17, 0, 0);
    first.fragment = Fragment{.id = 9, .end = 10};
    later.fragment = Fragment{.later = true, .id = 9, .offset = 10};
    expect(later, Reason::fragment);
    passes(first);
    passes(later);
    later.fragment->offset = 9; // overlaps what was judged
    expect(later, Reason::fragment);
    later.fragment = Fragment{.later = true, .id = 8, .offset = 10};
    expect(later, Reason::fragment);
    first.fragment->odd = true;
    expect(first, Reason::fragment);
    Transit refused = udp(kOne, 5000, kWeb, 54), behind = later;
    refused.fragment = Fragment{.id = 8, .end = 10};
    expect(refused, Reason::not_allowed);
    expect(behind, Reason::fragment);
    later.fragment->id = 9;
    gateway.switch_to(policy, at);
    expect(later, Reason::fragment);
}

BOOST_AUTO_TEST_CASE(a_flow_is_judged_again_by_every_policy) {
    const Policy without = read_ok(replaced(kBook, "tcp/443, udp/53", "udp/53"));
    const Policy strict =
        read_ok(replaced(kBook, "ports: [tcp/443, udp/53, icmp/echo-request] }", "ports: [tcp/443], require: tls }"));
    passes(tcp(kOne, 5000, kWeb, 443));
    gateway.switch_to(without, at);
    expect(tcp(kOne, 5000, kWeb, 443), Reason::not_allowed);
    expect(tcp(kWeb, 443, kOne, 5000), Reason::not_allowed);
    gateway.switch_to(policy, at);
    passes(tcp(kWeb, 443, kOne, 5000, kText));
    gateway.switch_to(strict, at); // its data never showed that it is TLS
    expect(tcp(kOne, 5000, kWeb, 443, kText), Reason::not_tls);
    passes(tcp(kOne, 5000, kWeb, 443));
}

BOOST_AUTO_TEST_CASE(a_flow_ends_with_its_window) {
    const Policy office =
        read_ok(replaced(kBook, "allow: [web, safe, coaps, shell] }",
                         "allow: [web], when: { days: mon-fri, hours: \"06:00-20:00\", zone: Europe/Berlin } }"));
    gateway.switch_to(office, at);
    passes(udp(kOne, 5000, kWeb, 53));
    gateway.switch_to(office, at + std::chrono::hours(8));
    expect(udp(kOne, 5000, kWeb, 53), Reason::not_allowed);
    expect(udp(kWeb, 53, kOne, 5000), Reason::not_allowed);
}

BOOST_AUTO_TEST_SUITE_END()
