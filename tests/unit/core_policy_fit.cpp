// agent/core: what a gateway refuses of a policy that is properly signed.
#include "agent/core/policy_fit.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <sys/socket.h>

using namespace penstock;
using namespace penstock::core;
using penstock::test::error_of;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

Config gateway() {
    Config config;
    config.file = "/etc/penstock/penstock.toml";
    TunnelConfig tunnel;
    tunnel.peer = *IpAddress::parse("198.51.100.2");
    tunnel.local_networks = {*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse("fd20::/64")};
    config.tunnels = {tunnel};
    return config;
}

std::string refused(const std::string& yaml, const Config& config, const std::vector<net::Address>& own = {}) {
    const auto policy = read_ok(yaml);
    return error_of(check_fit(policy, policy::compile(policy, policy::now()), config, own));
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(core_policy_fit)

BOOST_AUTO_TEST_CASE(a_device_has_an_address_of_its_own_behind_this_gateway) {
    BOOST_TEST(refused(kYaml, gateway()) == "(accepted)");
    auto elsewhere = gateway();
    elsewhere.tunnels[0].local_networks = {*IpPrefix::parse("172.16.0.0/12")};
    const auto outside = refused(kYaml, elsewhere);
    BOOST_TEST(says(outside, "policy.yaml:"), outside);
    BOOST_TEST(
        says(outside, "is in none of the tunnels' local_networks (172.16.0.0/12) in /etc/penstock/penstock.toml"),
        outside);
    const auto first = read_ok(kYaml).devices[0].addresses[0];
    net::Address own;
    own.address = first;
    BOOST_TEST(says(refused(kYaml, gateway(), {own}), "address " + first.str() + " is this gateway's own"));
    auto peer = gateway();
    peer.tunnels[0].peer = first;
    BOOST_TEST(says(refused(kYaml, peer), "is the peer of a tunnel"));
}

BOOST_AUTO_TEST_CASE(a_device_may_claim_an_address_of_its_lan_that_is_free) {
    auto config = gateway();
    config.tunnels[0].peer = *IpAddress::parse("10.20.0.66");
    const auto own = [](int ifindex, const char* text, unsigned length) {
        net::Address out;
        out.ifindex = ifindex;
        out.address = *IpAddress::parse(text);
        out.prefix_length = length;
        return out;
    };
    const std::vector<net::Address> addresses = {own(2, "10.20.0.1", 24), own(2, "fd20::1", 64),
                                                 own(3, "10.30.0.1", 24)};
    const auto claimed = [&](const char* text, int ifindex) {
        return error_of(check_claim(*IpAddress::parse(text), ifindex, config, addresses));
    };
    for (const char* good : {"10.20.0.2", "10.20.0.254", "fd20::2", "fd20::ffff:ffff:ffff:ffff"})
        BOOST_TEST(claimed(good, 2) == "(accepted)", good);
    BOOST_TEST(claimed("10.20.0.1", 2) == "it is this gateway's own; give the device another");
    BOOST_TEST(claimed("10.20.0.66", 2) == "it is the peer of a tunnel; give the device another");
    for (const char* edge : {"10.20.0.0", "10.20.0.255", "fd20::"})
        BOOST_TEST(claimed(edge, 2) == "it is no host's: the network's own, or its broadcast address", edge);
    BOOST_TEST(claimed("10.30.0.2", 2) == "it is in no network of the LAN on which the device is");
    BOOST_TEST(claimed("10.30.0.2", 3) == "(accepted)");
    for (const char* foreign : {"203.0.113.10", "169.254.7.7", "fe80::12", "::", "0.0.0.0", "224.0.0.251"})
        BOOST_TEST(says(claimed(foreign, 2), "it is in none of the tunnels' local_networks"), foreign);
}

BOOST_AUTO_TEST_CASE(no_resolver_that_asks_in_clear) {
    const auto yaml = kYaml + "lan: { dns: on }\n";
    BOOST_TEST(refused(yaml, gateway()) == "(accepted)");
    auto open = gateway();
    open.host_egress_open = true;
    BOOST_TEST(says(refused(yaml, open), "host_egress = \"open\""));
    BOOST_TEST(refused(kYaml, open) == "(accepted)");
    auto essential = gateway();
    essential.essentials = {{.name = "names", .cgroups = {}, .protos = {17}, .ports = {53}, .networks = {}}};
    BOOST_TEST(says(refused(yaml, essential), "[[essential]] names"));
    essential.essentials[0].ports = {123};
    BOOST_TEST(refused(yaml, essential) == "(accepted)");
}

BOOST_AUTO_TEST_CASE(no_more_devices_than_there_is_room) {
    auto small = gateway();
    small.device_capacity = 1;
    BOOST_TEST(says(refused(kYaml, small), "raise it and restart"));
}

BOOST_AUTO_TEST_SUITE_END()
