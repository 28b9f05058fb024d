// agent/base/ip: what parses, what is refused, and how prefixes contain each other.
#include "agent/base/ip.hpp"

#include <boost/test/unit_test.hpp>

#include <sys/socket.h>

using namespace penstock;

BOOST_AUTO_TEST_SUITE(base_ip)

BOOST_AUTO_TEST_CASE(parses_and_prints_addresses_of_both_families) {
    const auto v4 = IpAddress::parse("10.20.0.12");
    BOOST_REQUIRE(v4);
    BOOST_TEST(v4->family == AF_INET);
    BOOST_TEST(v4->str() == "10.20.0.12");
    const auto v6 = IpAddress::parse("2001:DB8:0:0::10");
    BOOST_REQUIRE(v6);
    BOOST_TEST(v6->family == AF_INET6);
    BOOST_TEST(v6->str() == "2001:db8::10");
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_address) {
    for (const char* text : {"", "10.20.0", "10.20.0.256", "10.20.0.1 ", " 10.20.0.1", "010.1.1.1x", "2001:db8:::1",
                             "::g", "fe80::1%eth0", "localhost", "10.0.0.1/8"})
        BOOST_TEST(!IpAddress::parse(text), text);
    BOOST_TEST(!IpAddress::parse(std::string_view("10.0.0.1\0junk", 13)));
}

BOOST_AUTO_TEST_CASE(maps_ipv4_into_ipv6) {
    const auto mapped = IpAddress::parse("1.2.3.4")->mapped();
    BOOST_TEST(mapped == IpAddress::parse("::ffff:1.2.3.4")->bytes);
    BOOST_TEST(IpAddress::parse("2001:db8::1")->mapped() == IpAddress::parse("2001:db8::1")->bytes);
}

BOOST_AUTO_TEST_CASE(parses_prefixes_and_refuses_host_bits) {
    BOOST_TEST(IpPrefix::parse("10.0.0.0/8")->str() == "10.0.0.0/8");
    BOOST_TEST(IpPrefix::parse("10.0.0.1")->str() == "10.0.0.1/32");
    BOOST_TEST(IpPrefix::parse("2001:db8::/32")->length == 32U);
    for (const char* text : {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.0/08",
                             "10.0.0.0/+8", "2001:db8::/129"})
        BOOST_TEST(!IpPrefix::parse(text), text);
    BOOST_TEST(IpPrefix::parse("10.0.0.1/8").error().message().find("did you mean 10.0.0.0/8") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(finds_the_network_around_an_address) {
    const auto around = [](const char* address, unsigned length) {
        return IpPrefix::around(*IpAddress::parse(address), length).str();
    };
    BOOST_TEST(around("10.20.3.77", 24) == "10.20.3.0/24");
    BOOST_TEST(around("10.20.3.77", 15) == "10.20.0.0/15");
    BOOST_TEST(around("10.20.3.77", 32) == "10.20.3.77/32");
    BOOST_TEST(around("10.20.3.77", 0) == "0.0.0.0/0");
    BOOST_TEST(around("fd20::1", 64) == "fd20::/64");
}

BOOST_AUTO_TEST_CASE(contains_and_overlaps_by_bits) {
    const auto net = *IpPrefix::parse("10.20.0.0/15");
    BOOST_TEST(net.contains(*IpAddress::parse("10.21.255.255")));
    BOOST_TEST(!net.contains(*IpAddress::parse("10.22.0.0")));
    BOOST_TEST(!net.contains(*IpAddress::parse("::ffff:10.20.0.1")));
    BOOST_TEST(net.contains(*IpPrefix::parse("10.20.1.0/24")));
    BOOST_TEST(!net.contains(*IpPrefix::parse("10.0.0.0/8")));
    BOOST_TEST(net.overlaps(*IpPrefix::parse("10.0.0.0/8")));
    BOOST_TEST(!net.overlaps(*IpPrefix::parse("10.22.0.0/16")));
    BOOST_TEST(IpPrefix::parse("0.0.0.0/0")->contains(*IpAddress::parse("255.255.255.255")));
}

BOOST_AUTO_TEST_CASE(parses_mac_addresses_of_single_devices_only) {
    BOOST_TEST(MacAddress::parse("02:00:00:00:00:AB")->str() == "02:00:00:00:00:ab");
    for (const char* text : {"", "02:00:00:00:00", "02:00:00:00:00:1", "02-00-00-00-00-12", "02:00:00:00:00:1g",
                             "02:00:00:00:00:12:13", " 2:00:00:00:00:12", "-2:00:00:00:00:12", "0x:00:00:00:00:12",
                             "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"})
        BOOST_TEST(!MacAddress::parse(text), text);
}

BOOST_AUTO_TEST_SUITE_END()
