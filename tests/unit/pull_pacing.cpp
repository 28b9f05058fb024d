// When penstock-pull looks again: bounds of interval, back-off and what a server asks for.
#include "agent/pull/pacing.hpp"

#include <boost/test/unit_test.hpp>

using namespace penstock::pull;
using namespace std::chrono_literals;

namespace {

constexpr double kLow = 0, kMiddle = 0.5, kHigh = 0.999999;

Pacing paced(std::chrono::seconds interval, double random) {
    return {interval, [random] { return random; }};
}

} // namespace

BOOST_AUTO_TEST_SUITE(pull_pacing)

BOOST_AUTO_TEST_CASE(the_interval_is_spread_by_fifteen_percent) {
    BOOST_TEST((paced(1000s, kLow).after_success() == 850s));
    BOOST_TEST((paced(1000s, kMiddle).after_success() == 1000s));
    BOOST_TEST((paced(1000s, kHigh).after_success() > 1149s));
    BOOST_TEST((paced(1000s, kHigh).after_success() <= 1150s));
}

BOOST_AUTO_TEST_CASE(the_first_look_is_within_five_seconds) {
    BOOST_TEST((paced(1000s, kLow).first() == 0s));
    BOOST_TEST((paced(1000s, kHigh).first() < 5s));
    BOOST_TEST((paced(1000s, kHigh).first() > 4s));
}

BOOST_AUTO_TEST_CASE(failures_double_the_wait_up_to_the_interval) {
    auto pacing = paced(60s, kMiddle);
    for (const auto expected : {5s, 10s, 20s, 40s, 60s, 60s})
        BOOST_TEST((pacing.after_failure() == expected));
    pacing.after_success();
    BOOST_TEST((pacing.after_failure() == 5s), "a success did not end the back-off");
}

BOOST_AUTO_TEST_CASE(a_long_interval_is_no_long_back_off) {
    auto pacing = paced(86400s, kHigh);
    Pacing::Millis last{};
    for (int i = 0; i < 100; i++) {
        last = pacing.after_failure();
        BOOST_REQUIRE((last >= 5s));
        BOOST_REQUIRE((last <= 3600s * 115 / 100));
    }
    BOOST_TEST((last > 3600s));
}

BOOST_AUTO_TEST_CASE(what_the_server_asks_for_is_heeded_within_bounds) {
    BOOST_TEST((paced(900s, kMiddle).after_failure(100s) >= 100s));
    BOOST_TEST((paced(900s, kHigh).after_failure(100s) <= 115s));
    BOOST_TEST((paced(900s, kLow).after_failure(86400s) == 900s));
    BOOST_TEST((paced(7200s, kLow).after_failure(86400s) == 3600s));
    BOOST_TEST((paced(900s, kMiddle).after_failure(1s) == 5s), "sooner than without being asked");
    BOOST_TEST((paced(900s, kMiddle).after_failure(-5s) == 5s));
}

BOOST_AUTO_TEST_SUITE_END()
