#include "agent/core/tunnel_mtu.hpp"

#include <boost/test/unit_test.hpp>

namespace penstock::core {
namespace {

BOOST_AUTO_TEST_SUITE(core_tunnel_mtu)

BOOST_AUTO_TEST_CASE(is_what_esp_in_udp_leaves) {
    BOOST_TEST(inner_mtu(1500, AF_INET) == 1438U); // what Linux 6.1 takes for the same SA
    BOOST_TEST(inner_mtu(1492, AF_INET) == 1430U);
    BOOST_TEST(inner_mtu(1500, AF_INET6) == 1418U);
}

BOOST_AUTO_TEST_CASE(fits_for_every_carrier) {
    for (const int family : {AF_INET, AF_INET6})
        for (unsigned carrier = 0; carrier < 10000; carrier++) {
            const auto inner = inner_mtu(carrier, family);
            if (inner == 0)
                continue;
            const auto padded = (inner + 2 + 3) / 4 * 4; // RFC 4303, 2.4: trailer and padding to whole words
            const auto outer = (family == AF_INET6 ? 40U : 20U) + 8 + 8 + 8 + padded + 16;
            BOOST_TEST_REQUIRE(outer <= carrier);
            BOOST_TEST_REQUIRE(outer + 4 > carrier);
        }
}

BOOST_AUTO_TEST_CASE(nothing_fits_into_too_little) {
    BOOST_TEST(inner_mtu(0, AF_INET) == 0U);
    BOOST_TEST(inner_mtu(60, AF_INET) == 0U);
    BOOST_TEST(inner_mtu(80, AF_INET6) == 0U);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::core
