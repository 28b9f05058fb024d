// agent/net: IPsec policies, defaults, SAs and events in a fresh network namespace. What needs ESP in the kernel skips
// itself where there is none.
#include "agent/net/links.hpp"
#include "agent/net/sysctl.hpp"
#include "agent/net/xfrm.hpp"
#include "tests/unit/net_namespace.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

using namespace penstock;
using namespace penstock::net;
namespace utf = boost::unit_test;

namespace {

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }
IpAddress address(const char* text) { return *IpAddress::parse(text); }

SecurityPolicy block(const char* source, const char* destination, Direction direction) {
    SecurityPolicy policy;
    policy.selector = {prefix(source), prefix(destination), 0, {}, {}, 0};
    policy.direction = direction;
    policy.priority = 5000;
    policy.action = SecurityPolicy::Action::block;
    return policy;
}

SecurityPolicy tunnel(const char* source, const char* destination, Direction direction) {
    SecurityPolicy policy = block(source, destination, direction);
    policy.priority = 1000;
    policy.action = SecurityPolicy::Action::allow;
    policy.transform = PolicyTemplate{address("127.0.0.1"), address("127.0.0.2"), 7, 0};
    return policy;
}

bool contains(const std::vector<SecurityPolicy>& all, const SecurityPolicy& policy) {
    return std::find(all.begin(), all.end(), policy) != all.end();
}

template <class Event> std::optional<Event> wait_for(XfrmMonitor& monitor, int milliseconds = 1000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    while (std::chrono::steady_clock::now() < end) {
        pollfd wait{monitor.fd(), POLLIN, 0};
        poll(&wait, 1, 100);
        auto batch = monitor.drain();
        BOOST_REQUIRE(batch);
        for (const auto& event : batch->events)
            if (const auto* wanted = std::get_if<Event>(&event))
                return *wanted;
    }
    return std::nullopt;
}

// Sends one datagram from 127.0.0.1 to this address; what happens to it is the kernel's business.
void send_datagram(const char* destination) {
    const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    const auto ip = address(destination);
    std::copy_n(ip.bytes.begin(), 4, reinterpret_cast<std::uint8_t*>(&to.sin_addr));
    (void)sendto(fd.get(), "x", 1, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof to);
}

SecurityAssociation sample(bool inbound, int family = AF_INET) {
    SecurityAssociation sa;
    sa.source = address(family == AF_INET ? "127.0.0.1" : "2001:db8::1");
    sa.destination = address(family == AF_INET ? "127.0.0.2" : "2001:db8::2");
    sa.spi = inbound ? 0xc1000001 : 0xc2000002;
    sa.reqid = 7;
    sa.inbound = inbound;
    sa.replay_window = 128;
    sa.key = SecretBytes(std::vector<std::uint8_t>(36, 0x5a));
    sa.output_mark = 0x20000000;
    sa.output_mark_mask = 0x30000000;
    return sa;
}

struct Loopback : test::NetworkNamespace {
    Loopback() {
        ip("link set lo up");
        // The kernel takes the loopback interface out of IPsec; these tests want it in.
        BOOST_REQUIRE(write_sysctl("net/ipv4/conf/lo/disable_xfrm", "0"));
    }
};

// A namespace is needed to ask.
boost::test_tools::assertion_result has_esp(utf::test_unit_id id) {
    auto result = test::can_make_namespaces(id);
    if (!result)
        return result;
    const test::NetworkNamespace away;
    const auto esp = kernel_has_esp();
    boost::test_tools::assertion_result out(esp && *esp);
    out.message() << "needs ESP in the kernel";
    return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(net_xfrm, *utf::precondition(test::can_make_namespaces))

BOOST_FIXTURE_TEST_CASE(finds_out_quickly_whether_there_is_esp_and_leaves_nothing_behind, Loopback) {
    BOOST_REQUIRE(kernel_has_esp()); // the first time may load modules, which takes what it takes
    const auto start = std::chrono::steady_clock::now();
    const auto esp = kernel_has_esp();
    const auto took = std::chrono::steady_clock::now() - start;
    BOOST_REQUIRE_MESSAGE(esp, (esp ? "" : esp.error().message()));
    BOOST_TEST_MESSAGE("ESP in this kernel: " << (*esp ? "yes" : "no"));
    BOOST_CHECK(took < std::chrono::seconds(1));
    BOOST_TEST(list_sas()->empty());
    BOOST_TEST(kernel_has_esp(AF_INET6).has_value());
}

BOOST_FIXTURE_TEST_CASE(policies_come_back_as_they_were_written, Loopback) {
    auto with_ports = tunnel("10.20.0.0/24", "203.0.113.0/24", Direction::out);
    with_ports.selector.protocol = IPPROTO_TCP;
    with_ports.selector.destination_ports = {8192, 8193};
    with_ports.selector.source_ports = {443, 443};
    with_ports.selector.ifindex = 1;
    with_ports.mark = 0x10000000;
    with_ports.mark_mask = 0x30000000;
    with_ports.transform->spi = 0xc1234567;
    auto six_in_four = tunnel("fd20::/64", "2001:db8:203::/64", Direction::forward);
    const std::vector<SecurityPolicy> desired{
        block("0.0.0.0/0", "203.0.113.0/24", Direction::out), block("::/0", "2001:db8:203::/64", Direction::forward),
        tunnel("203.0.113.0/24", "10.20.0.0/24", Direction::in), with_ports, six_in_four};
    for (const auto& policy : desired) {
        const auto added = add_policy(policy);
        BOOST_REQUIRE_MESSAGE(added, (added ? "" : added.error().message()));
        BOOST_TEST(add_policy(policy).error().code() == EEXIST);
    }
    const auto actual = list_policies();
    BOOST_REQUIRE(actual);
    BOOST_TEST(actual->size() == desired.size());
    for (const auto& policy : desired) {
        BOOST_TEST(contains(*actual, policy), policy.str());
        const auto use = query_policy(policy);
        BOOST_REQUIRE(use);
        BOOST_TEST(use->added > 1'600'000'000U);
        BOOST_TEST(use->last_use == 0U);
    }
    for (const auto& policy : desired)
        BOOST_REQUIRE(delete_policy(policy));
    BOOST_TEST(list_policies()->empty());
    BOOST_TEST(delete_policy(desired[0]).error().code() == ENOENT);
    BOOST_TEST(query_policy(desired[0]).error().code() == ENOENT);
}

BOOST_FIXTURE_TEST_CASE(one_selector_holds_one_policy_whatever_the_priority, Loopback) {
    const auto shut = block("10.20.0.0/24", "203.0.113.0/24", Direction::forward);
    const auto open = tunnel("10.20.0.0/24", "203.0.113.0/24", Direction::forward);
    BOOST_REQUIRE(add_policy(shut));
    BOOST_TEST(add_policy(open).error().code() == EEXIST);
    BOOST_REQUIRE(replace_policy(open));
    const auto actual = list_policies();
    BOOST_REQUIRE(actual && actual->size() == 1);
    BOOST_CHECK(actual->front() == open);
}

BOOST_FIXTURE_TEST_CASE(refuses_what_one_selector_cannot_hold, Loopback) {
    auto odd = block("10.20.0.0/24", "203.0.113.0/24", Direction::out);
    odd.selector.destination_ports = {100, 200};
    const auto refused = add_policy(odd);
    BOOST_TEST(refused.error().code() == EINVAL);
    BOOST_TEST(refused.error().message().find("ports 100-200") != std::string::npos, refused.error().message());
    auto mixed = block("10.20.0.0/24", "203.0.113.0/24", Direction::out);
    mixed.selector.destination = prefix("2001:db8::/32");
    BOOST_TEST(add_policy(mixed).error().code() == EINVAL);
}

BOOST_FIXTURE_TEST_CASE(sets_and_reads_the_default, Loopback) {
    using Action = DefaultPolicy::Action;
    BOOST_CHECK(*get_default_policy() == DefaultPolicy{});
    for (const DefaultPolicy wanted : {DefaultPolicy{Action::allow, Action::block, Action::allow},
                                       DefaultPolicy{Action::block, Action::block, Action::block}, DefaultPolicy{}}) {
        BOOST_REQUIRE(set_default_policy(wanted));
        BOOST_CHECK(*get_default_policy() == wanted);
    }
}

BOOST_FIXTURE_TEST_CASE(the_monitor_sees_policies_and_the_default_change, Loopback) {
    auto monitor = XfrmMonitor::make();
    BOOST_REQUIRE(monitor);
    BOOST_TEST(monitor->drain()->events.empty());
    const auto policy = block("10.20.0.0/24", "203.0.113.0/24", Direction::forward);
    BOOST_REQUIRE(add_policy(policy));
    BOOST_TEST(wait_for<PoliciesChanged>(*monitor).has_value());
    BOOST_REQUIRE(delete_policy(policy));
    BOOST_TEST(wait_for<PoliciesChanged>(*monitor).has_value());
    ip("xfrm policy flush");
    BOOST_REQUIRE(set_default_policy({}));
    BOOST_TEST(wait_for<PoliciesChanged>(*monitor).has_value());
}

BOOST_FIXTURE_TEST_CASE(traffic_under_a_policy_without_an_sa_is_an_acquire, Loopback) {
    auto monitor = XfrmMonitor::make();
    BOOST_REQUIRE(monitor);
    const auto policy = tunnel("0.0.0.0/0", "127.0.0.9/32", Direction::out);
    BOOST_REQUIRE(add_policy(policy));
    send_datagram("127.0.0.9");
    const auto acquire = wait_for<Acquire>(*monitor);
    BOOST_REQUIRE(acquire.has_value());
    BOOST_TEST(acquire->reqid == 7U);
    BOOST_TEST(acquire->source.str() == "127.0.0.1");
    BOOST_TEST(acquire->destination.str() == "127.0.0.2");
    BOOST_TEST(acquire->selector.destination.str() == "127.0.0.9/32");
    BOOST_TEST(acquire->selector.protocol == IPPROTO_UDP);
    BOOST_TEST(acquire->selector.destination_ports.first == 9);
    BOOST_TEST(acquire->selector.destination_ports.last == 9);
}

BOOST_FIXTURE_TEST_CASE(reserves_spis_in_the_range_and_deletes_them, Loopback) {
    const auto first = allocate_spi(address("127.0.0.1"), address("127.0.0.2"), 7);
    const auto second = allocate_spi(address("127.0.0.1"), address("127.0.0.2"), 7);
    const auto v6 = allocate_spi(address("2001:db8::1"), address("2001:db8::2"), 8, 0x100, 0x100);
    BOOST_REQUIRE(first && second && v6);
    BOOST_TEST((*first >= 0xc0000000 && *first <= 0xcfffffff));
    BOOST_TEST(*first != *second);
    BOOST_TEST(*v6 == 0x100U);
    const auto all = list_sas();
    BOOST_REQUIRE(all && all->size() == 3);
    for (const auto& sa : *all)
        BOOST_TEST(sa.aead.empty());
    const SaId id{address("127.0.0.2"), *first};
    BOOST_TEST(query_sa(id)->reqid == 7U);
    BOOST_REQUIRE(delete_sa(id));
    BOOST_TEST(delete_sa(id).error().code() == ESRCH);
    BOOST_TEST(query_sa(id).error().code() == ESRCH);
    BOOST_TEST(list_sas()->size() == 2U);
}

BOOST_AUTO_TEST_CASE(refuses_an_sa_that_makes_no_sense_before_the_kernel_sees_it) {
    const auto code = [](auto change) {
        auto sa = sample(true);
        change(sa);
        const auto added = add_sa(sa);
        return added ? 0 : added.error().code();
    };
    const test::NetworkNamespace away;
    BOOST_TEST(code([](auto& sa) { sa.key.wipe(); }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.spi = 255; }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.aead.clear(); }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.aead.assign(64, 'x'); }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.icv_bits = 32; }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.replay_window = 0; }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.replay_window = 5000; }) == EINVAL);
    BOOST_TEST(code([](auto& sa) { sa.source = address("::1"); }) == EINVAL);
}

BOOST_FIXTURE_TEST_CASE(ike_socket_options_reach_udp_sockets_only, Loopback) {
    const Fd udp4(socket(AF_INET, SOCK_DGRAM, 0));
    const Fd udp6(socket(AF_INET6, SOCK_DGRAM, 0));
    const Fd tcp(socket(AF_INET, SOCK_STREAM, 0));
    const Fd raw(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
    const Fd unix_socket(socket(AF_UNIX, SOCK_DGRAM, 0));
    const Fd file(open("/dev/null", O_RDWR));
    BOOST_TEST(apply_ike_socket_options(udp4.get(), AF_INET, 0x42).has_value());
    BOOST_TEST(apply_ike_socket_options(udp6.get(), AF_INET6, 0x42).has_value());
    unsigned mark = 0;
    socklen_t size = sizeof mark;
    BOOST_REQUIRE(getsockopt(udp4.get(), SOL_SOCKET, SO_MARK, &mark, &size) == 0);
    BOOST_TEST(mark == 0x42U);
    BOOST_TEST(list_policies()->empty()); // per-socket policies are nobody's to list or delete
    BOOST_TEST(apply_ike_socket_options(udp4.get(), AF_INET6, 0x42).error().code() == EPROTOTYPE);
    BOOST_TEST(apply_ike_socket_options(tcp.get(), AF_INET, 0x42).error().code() == EPROTOTYPE);
    BOOST_TEST(apply_ike_socket_options(raw.get(), AF_INET, 0x42).error().code() == EPROTOTYPE);
    BOOST_TEST(apply_ike_socket_options(unix_socket.get(), AF_INET, 0x42).error().code() == EPROTOTYPE);
    BOOST_TEST(apply_ike_socket_options(file.get(), AF_INET, 0x42).error().code() == ENOTSOCK);
    BOOST_TEST(apply_ike_socket_options(-1, AF_INET, 0x42).error().code() == EBADF);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(net_xfrm_esp, *utf::precondition(has_esp))

BOOST_FIXTURE_TEST_CASE(adds_reads_and_deletes_sas_of_both_directions_and_families, Loopback) {
    for (const int family : {AF_INET, AF_INET6})
        for (const bool inbound : {true, false})
            for (const bool esn : {true, false}) {
                auto sa = sample(inbound, family);
                sa.esn = esn;
                sa.encapsulation = UdpEncapsulation{4500, 4501};
                const auto added = add_sa(sa);
                BOOST_REQUIRE_MESSAGE(added, (added ? "" : added.error().message()));
                BOOST_TEST(add_sa(sa).error().code() == EEXIST);
                const SaId id{sa.destination, sa.spi};
                const auto status = query_sa(id);
                BOOST_REQUIRE(status);
                BOOST_CHECK(status->source == sa.source && status->destination == sa.destination);
                BOOST_TEST(status->spi == sa.spi);
                BOOST_TEST(status->reqid == 7U);
                BOOST_TEST(status->aead == "rfc4106(gcm(aes))");
                BOOST_TEST(status->key_bits == 288U);
                BOOST_TEST(status->icv_bits == 128U);
                BOOST_TEST(status->tunnel_mode);
                BOOST_TEST(status->esn == esn);
                if (status->inbound) // from kernel 6.10
                    BOOST_TEST(*status->inbound == inbound);
                if (inbound)
                    BOOST_TEST(status->replay_window == 128U);
                BOOST_TEST(status->output_mark == 0x20000000U);
                BOOST_TEST(status->output_mark_mask == 0x30000000U);
                BOOST_CHECK(status->encapsulation == sa.encapsulation);
                BOOST_TEST(status->packets == 0U);
                BOOST_TEST(status->last_use == 0U);
                BOOST_TEST(list_sas()->size() == 1U);
                BOOST_REQUIRE(delete_sa(id));
                BOOST_TEST(list_sas()->empty());
            }
}

BOOST_FIXTURE_TEST_CASE(completes_a_reserved_spi_once, Loopback) {
    auto sa = sample(true);
    const auto spi = allocate_spi(sa.source, sa.destination, sa.reqid);
    BOOST_REQUIRE(spi);
    sa.spi = *spi;
    BOOST_TEST(add_sa(sa).error().code() == EEXIST);
    const auto done = complete_sa(sa);
    BOOST_REQUIRE_MESSAGE(done, (done ? "" : done.error().message()));
    BOOST_TEST(query_sa({sa.destination, sa.spi})->aead == "rfc4106(gcm(aes))");
    BOOST_TEST(list_sas()->size() == 1U);
    auto stranger = sample(true);
    BOOST_TEST(complete_sa(stranger).error().code() == ESRCH);
}

BOOST_FIXTURE_TEST_CASE(a_wrong_key_length_is_refused_with_a_reason, Loopback) {
    for (const bool inbound : {true, false}) {
        auto sa = sample(inbound);
        sa.key = SecretBytes(std::vector<std::uint8_t>(35, 1));
        const auto refused = add_sa(sa);
        BOOST_REQUIRE(!refused);
        BOOST_TEST(refused.error().code() == EINVAL);
    }
}

BOOST_FIXTURE_TEST_CASE(traffic_counts_on_the_sa_and_a_move_keeps_its_state, Loopback) {
    const auto policy = tunnel("0.0.0.0/0", "127.0.0.9/32", Direction::out);
    BOOST_REQUIRE(add_policy(policy));
    BOOST_REQUIRE(add_sa(sample(false)));
    const SaId id{address("127.0.0.2"), 0xc2000002};
    for (int i = 0; i < 5; i++)
        send_datagram("127.0.0.9");
    const auto before = query_sa(id);
    BOOST_REQUIRE(before);
    BOOST_TEST(before->packets >= 5U); // before 6.10 the loopback traffic comes in by the same SA and counts twice
    BOOST_TEST(before->sequence_out == 5U);
    BOOST_TEST(before->bytes > 0U);
    BOOST_TEST(before->last_use != 0U);
    BOOST_TEST(query_policy(policy)->last_use != 0U);

    const auto moved = move_sa(id, address("127.0.0.5"), address("127.0.0.6"), UdpEncapsulation{4500, 4500});
    BOOST_REQUIRE_MESSAGE(moved, (moved ? "" : moved.error().message()));
    BOOST_TEST(query_sa(id).error().code() == ESRCH);
    const auto after = query_sa({address("127.0.0.6"), id.spi});
    BOOST_REQUIRE(after);
    BOOST_TEST(after->source.str() == "127.0.0.5");
    BOOST_TEST(after->packets >= before->packets); // what came in by the same SA may still be under way
    BOOST_TEST(after->bytes >= before->bytes);
    BOOST_TEST(after->added == before->added);
    BOOST_TEST(after->sequence_out > before->sequence_out + 1000);
    BOOST_TEST(after->output_mark == before->output_mark);
    BOOST_TEST(after->key_bits == 288U);
    BOOST_TEST(after->encapsulation.has_value());
}

BOOST_FIXTURE_TEST_CASE(an_inbound_sa_can_move_too, Loopback) {
    BOOST_REQUIRE(add_sa(sample(true)));
    const SaId id{address("127.0.0.2"), 0xc1000001};
    const auto moved = move_sa(id, address("127.0.0.5"), id.destination, std::nullopt);
    BOOST_REQUIRE_MESSAGE(moved, (moved ? "" : moved.error().message()));
    BOOST_TEST(query_sa(id)->source.str() == "127.0.0.5");
    BOOST_TEST(query_sa(id)->replay_window == 128U);
}

BOOST_FIXTURE_TEST_CASE(the_monitor_sees_sas_go_and_never_come, Loopback) {
    auto monitor = XfrmMonitor::make();
    BOOST_REQUIRE(monitor);
    BOOST_REQUIRE(add_sa(sample(false)));
    pollfd wait{monitor->fd(), POLLIN, 0};
    BOOST_TEST(poll(&wait, 1, 200) == 0); // the announcement carries the key
    BOOST_REQUIRE(delete_sa({address("127.0.0.2"), 0xc2000002}));
    BOOST_TEST(wait_for<SasGone>(*monitor).has_value());
    BOOST_REQUIRE(add_sa(sample(true)));
    ip("xfrm state flush");
    BOOST_TEST(wait_for<SasGone>(*monitor).has_value());
}

BOOST_FIXTURE_TEST_CASE(lifetimes_expire_softly_and_then_hard, Loopback) {
    auto monitor = XfrmMonitor::make();
    BOOST_REQUIRE(monitor);
    auto sa = sample(false);
    sa.lifetime.soft_seconds = 1;
    sa.lifetime.hard_seconds = 3;
    BOOST_REQUIRE(add_sa(sa));
    const auto soft = wait_for<Expire>(*monitor, 4000);
    BOOST_REQUIRE(soft.has_value());
    BOOST_TEST(!soft->hard);
    BOOST_TEST(soft->id.spi == sa.spi);
    BOOST_TEST(soft->id.destination.str() == "127.0.0.2");
    BOOST_TEST(soft->reqid == 7U);
    const auto hard = wait_for<Expire>(*monitor, 6000);
    BOOST_REQUIRE(hard.has_value());
    BOOST_TEST(hard->hard);
    BOOST_TEST(list_sas()->empty());
}

BOOST_AUTO_TEST_SUITE_END()
