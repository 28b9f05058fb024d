// A hijacked penstock-ike asks for everything it should not have: each request is refused, with its reason.
#include "agent/core/ike_check.hpp"
#include "agent/ike/server.hpp"

#include <arpa/inet.h>
#include <boost/test/unit_test.hpp>

#include <cstring>
#include <functional>
#include <netinet/in.h>

using namespace penstock;
using core::IkeCheck;

namespace {

IpAddress address(const char* text) { return *IpAddress::parse(text); }

pike_selector selector(const char* from, const char* to) {
    pike_selector out{};
    const auto low = address(from), high = address(to);
    out.family = static_cast<std::uint8_t>(low.family);
    std::memcpy(out.from, low.bytes.data(), sizeof out.from);
    std::memcpy(out.to, high.bytes.data(), sizeof out.to);
    out.to_port = 65535;
    return out;
}

struct Site {
    core::Config config;
    IkeCheck check{config};

    Site() {
        core::TunnelConfig cloud;
        cloud.name = "cloud";
        cloud.peer = address("192.0.2.2");
        cloud.local_networks = {*IpPrefix::parse("10.20.0.0/24"), *IpPrefix::parse("fd20::/64")};
        cloud.remote_networks = {*IpPrefix::parse("203.0.113.0/24"), *IpPrefix::parse("2001:db8:203::/64")};
        config.tunnels.push_back(cloud);
        check.set_local_addresses({address("198.51.100.2")});
    }

    static pike_add_sa sa() {
        pike_add_sa out{};
        out.id.source = to_pike(address("198.51.100.2"));
        out.id.destination = to_pike(address("192.0.2.2"));
        out.id.spi_be = htonl(0xc1234567);
        out.id.protocol = IPPROTO_ESP;
        out.reqid = 1;
        out.encryption = 20;
        out.tunnel_mode = 1;
        out.source_count = 1;
        out.destination_count = 1;
        out.selectors[0] = selector("10.20.0.0", "10.20.0.255");
        out.selectors[1] = selector("203.0.113.0", "203.0.113.255");
        return out;
    }
    static pike_policy policy() {
        pike_policy out{};
        out.source = selector("10.20.0.0", "10.20.0.255");
        out.destination = selector("203.0.113.0", "203.0.113.255");
        out.tunnel_source = to_pike(address("198.51.100.2"));
        out.tunnel_destination = to_pike(address("192.0.2.2"));
        out.reqid = 1;
        out.direction = PIKE_DIR_OUT;
        out.kind = PIKE_POLICY_IPSEC;
        out.tunnel_mode = 1;
        return out;
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(core_ike_check)

BOOST_AUTO_TEST_CASE(accepts_what_the_configuration_wants) {
    const Site site;
    BOOST_TEST(site.check.sa(Site::sa()).value() == 0U);
    auto inbound = Site::sa();
    std::swap(inbound.id.source, inbound.id.destination);
    std::swap(inbound.selectors[0], inbound.selectors[1]);
    inbound.inbound = 1;
    BOOST_TEST(site.check.sa(inbound).has_value());
    auto chacha = Site::sa();
    chacha.encryption = 28;
    BOOST_TEST(site.check.sa(chacha).has_value());
    const auto policy = site.check.policy(Site::policy());
    BOOST_REQUIRE(policy.has_value());
    BOOST_TEST(policy->selector.source.str() == "10.20.0.0/24");
    BOOST_TEST(policy->selector.destination.str() == "203.0.113.0/24");
    BOOST_TEST(policy->transform->reqid == 1U);
    BOOST_TEST(policy->priority == core::kTunnelPriority);
}

BOOST_AUTO_TEST_CASE(refuses_foreign_sas) {
    const Site site;
    const std::pair<const char*, std::function<void(pike_add_sa&)>> cases[] = {
        {"not the peer", [](auto& sa) { sa.id.destination = to_pike(address("192.0.2.3")); }},
        {"not an address of an uplink", [](auto& sa) { sa.id.source = to_pike(address("10.20.0.1")); }},
        {"belongs to no tunnel", [](auto& sa) { sa.reqid = 2; }},
        {"belongs to no tunnel", [](auto& sa) { sa.reqid = 0; }},
        {"not the peer", [](auto& sa) { sa.inbound = 1; }},
        {"is not an AEAD", [](auto& sa) { sa.encryption = 11; }}, // NULL
        {"is not an AEAD", [](auto& sa) { sa.encryption = 12; }}, // AES-CBC
        {"is not an AEAD", [](auto& sa) { sa.encryption = 18; }}, // GCM with a short ICV
        {"is not an AEAD", [](auto& sa) { sa.encryption = 21; }}, // NULL with AES-GMAC
        {"not an ESP SA in tunnel mode", [](auto& sa) { sa.id.protocol = IPPROTO_AH; }},
        {"not an ESP SA in tunnel mode", [](auto& sa) { sa.tunnel_mode = 0; }},
        {"not an ESP SA in tunnel mode", [](auto& sa) { sa.id.spi_be = 0; }},
        {"not within the tunnel's networks",
         [](auto& sa) { sa.selectors[0] = selector("0.0.0.0", "255.255.255.255"); }},
        {"not within the tunnel's networks",
         [](auto& sa) { sa.selectors[1] = selector("203.0.113.0", "203.0.114.255"); }},
        {"not within the tunnel's networks",
         [](auto& sa) { sa.selectors[1] = selector("203.0.113.1", "203.0.113.2"); }},
        {"not within the tunnel's networks",
         [](auto& sa) { sa.selectors[1].from_port = sa.selectors[1].to_port = 443; }},
        {"not within the tunnel's networks", [](auto& sa) { sa.selectors[1].protocol = IPPROTO_TCP; }},
        {"not within the tunnel's networks", [](auto& sa) { std::swap(sa.selectors[0], sa.selectors[1]); }},
    };
    for (const auto& [why, spoil] : cases) {
        auto sa = Site::sa();
        spoil(sa);
        const auto verdict = site.check.sa(sa);
        BOOST_REQUIRE_MESSAGE(!verdict.has_value(), why);
        BOOST_TEST(verdict.error().message().find(why) != std::string::npos, verdict.error().message());
    }
}

BOOST_AUTO_TEST_CASE(refuses_foreign_policies) {
    const Site site;
    const std::pair<const char*, std::function<void(pike_policy&)>> cases[] = {
        {"only policies that demand ESP", [](auto& policy) { policy.kind = PIKE_POLICY_PASS; }},
        {"only policies that demand ESP", [](auto& policy) { policy.tunnel_mode = 0; }},
        {"not the peer", [](auto& policy) { policy.tunnel_destination = to_pike(address("203.0.113.9")); }},
        {"not an address of an uplink", [](auto& policy) { policy.tunnel_source = to_pike(address("198.51.100.9")); }},
        {"not within", [](auto& policy) { policy.source = selector("10.0.0.0", "10.255.255.255"); }},
        {"not within", [](auto& policy) { policy.destination = selector("0.0.0.0", "255.255.255.255"); }},
        {"not within", [](auto& policy) { policy.destination.to_port = 1024; }},
        {"belongs to no tunnel", [](auto& policy) { policy.reqid = 99; }},
    };
    for (const auto& [why, spoil] : cases) {
        auto policy = Site::policy();
        spoil(policy);
        const auto verdict = site.check.policy(policy);
        BOOST_REQUIRE_MESSAGE(!verdict.has_value(), why);
        BOOST_TEST(verdict.error().message().find(why) != std::string::npos, verdict.error().message());
    }
}

BOOST_AUTO_TEST_CASE(reads_a_prefix_out_of_a_range) {
    BOOST_TEST(core::prefix_of(selector("10.0.0.0", "10.255.255.255"))->str() == "10.0.0.0/8");
    BOOST_TEST(core::prefix_of(selector("10.0.0.1", "10.0.0.1"))->str() == "10.0.0.1/32");
    BOOST_TEST(core::prefix_of(selector("0.0.0.0", "255.255.255.255"))->str() == "0.0.0.0/0");
    BOOST_TEST(core::prefix_of(selector("2001:db8::", "2001:db8::ffff"))->str() == "2001:db8::/112");
    BOOST_TEST(!core::prefix_of(selector("10.0.0.1", "10.0.0.2")).has_value());
    BOOST_TEST(!core::prefix_of(selector("10.0.0.0", "10.0.0.254")).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
