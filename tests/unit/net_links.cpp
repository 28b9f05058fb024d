// agent/net: links, addresses and sysctls of a fresh network namespace.
#include "agent/net/links.hpp"
#include "agent/net/sysctl.hpp"
#include "tests/unit/net_namespace.hpp"

#include <linux/if_addr.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>

using namespace penstock;
using namespace penstock::net;
namespace utf = boost::unit_test;

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

BOOST_FIXTURE_TEST_CASE(hides_the_index_of_a_peer_in_another_namespace, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0 netns 1");
    const auto lan = find_link("lan0");
    ip("link del lan0");
    BOOST_REQUIRE(lan);
    BOOST_TEST(lan->lower == 0);
}

BOOST_FIXTURE_TEST_CASE(switches_a_link_and_sets_its_mtu, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0");
    const int index = find_link("lan0")->index;
    BOOST_REQUIRE(set_link_up(index));
    BOOST_REQUIRE(set_link_mtu(index, 1400));
    BOOST_TEST(find_link("lan0")->up());
    BOOST_TEST(find_link("lan0")->mtu == 1400U);
    BOOST_REQUIRE(set_link_up(index, false));
    BOOST_TEST(!find_link("lan0")->up());
}

BOOST_FIXTURE_TEST_CASE(names_the_kernels_reason_when_it_refuses, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0");
    const auto refused = set_link_mtu(find_link("lan0")->index, 10);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().code() == EINVAL);
    BOOST_TEST(refused.error().message().find("Invalid argument (mtu less than device minimum)") != std::string::npos,
               refused.error().message());
    BOOST_TEST(find_link("nosuch0").error().code() == ENODEV);
    BOOST_TEST(set_link_up(4711).error().code() == ENODEV);
}

BOOST_FIXTURE_TEST_CASE(adds_lists_and_deletes_addresses_of_both_families, test::NetworkNamespace) {
    ip("link add lan0 type veth peer name dev0");
    const int index = find_link("lan0")->index;
    BOOST_REQUIRE(set_link_up(index));
    Address v4;
    v4.ifindex = index;
    v4.address = *IpAddress::parse("10.20.0.1");
    v4.prefix_length = 24;
    v4.broadcast = *IpAddress::parse("10.20.0.255");
    Address v6;
    v6.ifindex = index;
    v6.address = *IpAddress::parse("fd20::1");
    v6.prefix_length = 64;
    v6.flags = IFA_F_NODAD;
    BOOST_REQUIRE(add_address(v4));
    BOOST_REQUIRE(add_address(v6));
    BOOST_TEST(add_address(v4).error().code() == EEXIST);

    const auto find = [](const Address& wanted) -> std::optional<Address> {
        const auto all = list_addresses();
        BOOST_REQUIRE(all);
        const auto it =
            std::find_if(all->begin(), all->end(), [&](const Address& a) { return a.address == wanted.address; });
        return it == all->end() ? std::nullopt : std::optional(*it);
    };
    const auto got4 = find(v4);
    const auto got6 = find(v6);
    BOOST_REQUIRE(got4);
    BOOST_REQUIRE(got6);
    BOOST_TEST(got4->ifindex == index);
    BOOST_TEST(got4->network().str() == "10.20.0.0/24");
    BOOST_TEST(got4->broadcast->str() == "10.20.0.255");
    BOOST_TEST(!got4->peer.has_value());
    BOOST_TEST(got6->network().str() == "fd20::/64");
    BOOST_TEST(got6->usable());
    BOOST_REQUIRE(delete_address(v4));
    BOOST_REQUIRE(delete_address(v6));
    BOOST_TEST(!find(v4).has_value());
    BOOST_TEST(!find(v6).has_value());
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
