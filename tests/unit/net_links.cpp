// agent/net: links, addresses and sysctls of a fresh network namespace.
#include "agent/net/links.hpp"
#include "agent/net/sysctl.hpp"
#include "tests/unit/net_namespace.hpp"

#include <csignal>
#include <net/if_arp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

using namespace penstock;
using namespace penstock::net;
namespace utf = boost::unit_test;

namespace {

// A process in a network namespace of its own, as long as this lives.
struct OtherNamespace {
    pid_t pid;
    OtherNamespace() {
        std::array<int, 2> ready{};
        BOOST_REQUIRE(pipe(ready.data()) == 0);
        pid = fork();
        if (pid == 0) {
            const char told = unshare(CLONE_NEWNET) == 0 ? 1 : 0;
            [[maybe_unused]] const auto written = write(ready[1], &told, 1);
            for (;;)
                pause();
        }
        char told = 0;
        BOOST_REQUIRE(read(ready[0], &told, 1) == 1);
        close(ready[0]);
        close(ready[1]);
        BOOST_REQUIRE(told == 1);
    }
    ~OtherNamespace() {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
    OtherNamespace(const OtherNamespace&) = delete;
    OtherNamespace& operator=(const OtherNamespace&) = delete;
};

} // namespace

BOOST_AUTO_TEST_SUITE(net_links, *utf::precondition(test::can_make_namespaces))

BOOST_FIXTURE_TEST_CASE(lists_a_veth_with_its_kind_mac_and_master, test::NetworkNamespace) {
    ip("link add br0 type bridge");
    ip("link add lan0 address 02:00:00:00:00:01 type veth peer name dev0");
    ip("link set lan0 master br0");
    const auto lan = find_link("lan0");
    const auto bridge = find_link("br0");
    const auto loopback = find_link("lo");
    BOOST_REQUIRE(lan && bridge && loopback);
    BOOST_TEST(lan->kind == "veth");
    BOOST_TEST(lan->mac.str() == "02:00:00:00:00:01");
    BOOST_TEST(lan->arphrd == ARPHRD_ETHER);
    BOOST_TEST(lan->mtu == 1500U);
    BOOST_TEST(lan->master == bridge->index);
    BOOST_TEST(lan->lower == find_link("dev0")->index);
    BOOST_TEST(!lan->up());
    BOOST_TEST(bridge->kind == "bridge");
    BOOST_TEST(loopback->arphrd == ARPHRD_LOOPBACK);
    BOOST_CHECK(loopback->mac == MacAddress{});
    BOOST_TEST(list_links()->size() == 4U);
}

BOOST_FIXTURE_TEST_CASE(sees_that_a_link_is_switched_on_and_has_another_mtu, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0");
    ip("link set lan0 up mtu 1400");
    BOOST_TEST(find_link("lan0")->up());
    BOOST_TEST(find_link("lan0")->mtu == 1400U);
    BOOST_TEST(find_link("nosuch0").error().code() == ENODEV);
}

BOOST_FIXTURE_TEST_CASE(hides_the_index_of_a_peer_in_another_namespace, test::NetworkNamespace) {
    const OtherNamespace other;
    ip("link add lan0 type veth peer name dev0 netns " + std::to_string(other.pid));
    const auto lan = find_link("lan0");
    ip("link del lan0");
    BOOST_REQUIRE(lan);
    BOOST_TEST(lan->lower == 0);
}

BOOST_FIXTURE_TEST_CASE(lists_addresses_of_both_families, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0");
    ip("link set lan0 up");
    ip("addr add 10.20.0.1/24 brd 10.20.0.255 dev lan0");
    ip("addr add 10.30.0.1 peer 10.30.0.2/32 dev lan0");
    ip("addr add fd20::1/64 dev lan0 nodad");
    const auto find = [](const std::string& wanted) {
        const auto all = list_addresses();
        BOOST_REQUIRE(all);
        const auto it =
            std::find_if(all->begin(), all->end(), [&](const Address& a) { return a.address.str() == wanted; });
        BOOST_REQUIRE(it != all->end());
        return *it;
    };
    const auto v4 = find("10.20.0.1");
    BOOST_TEST(v4.ifindex == find_link("lan0")->index);
    BOOST_TEST(v4.prefix_length == 24U);
    BOOST_TEST(v4.broadcast->str() == "10.20.0.255");
    BOOST_TEST(!v4.peer.has_value());
    BOOST_TEST(find("10.30.0.1").peer->str() == "10.30.0.2");
    const auto v6 = find("fd20::1");
    BOOST_TEST(v6.prefix_length == 64U);
    BOOST_TEST(v6.usable());
}

BOOST_FIXTURE_TEST_CASE(says_that_an_address_is_still_tentative, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0");
    ip("link set dev0 up");
    ip("link set lan0 up");
    ip("addr add fd20::1/64 dev lan0");
    const auto all = list_addresses();
    BOOST_REQUIRE(all);
    const auto it =
        std::find_if(all->begin(), all->end(), [](const Address& a) { return a.address.str() == "fd20::1"; });
    BOOST_REQUIRE(it != all->end());
    BOOST_TEST(!it->usable());
}

BOOST_FIXTURE_TEST_CASE(reads_and_writes_sysctls_of_names_with_dots, test::NetworkNamespace) {
    ip("link add lan0.10 type veth peer name dev0");
    const auto key = interface_sysctl(AF_INET, "lan0.10", "forwarding");
    BOOST_REQUIRE(write_sysctl(key, "1"));
    BOOST_TEST(*read_sysctl(key) == "1");
    BOOST_REQUIRE(write_sysctl(key, "0"));
    BOOST_TEST(*read_sysctl(key) == "0");
    BOOST_TEST(*read_sysctl(interface_sysctl(AF_INET6, "all", "forwarding")) == "0");
    BOOST_TEST(write_sysctl(key, "many").error().code() == EINVAL);
    BOOST_TEST(read_sysctl(interface_sysctl(AF_INET, "gone0", "forwarding")).error().code() == ENOENT);
}

BOOST_AUTO_TEST_CASE(refuses_sysctl_keys_that_lead_elsewhere) {
    for (const char* key : {"kernel/core_pattern", "net/../kernel/core_pattern", "/net/ipv4/ip_forward", "net/",
                            "net//x", "net/./x", "net/ipv4/.."}) {
        BOOST_TEST(read_sysctl(key).error().code() == EINVAL, key);
        BOOST_TEST(write_sysctl(key, "x").error().code() == EINVAL, key);
    }
}

BOOST_AUTO_TEST_SUITE_END()
