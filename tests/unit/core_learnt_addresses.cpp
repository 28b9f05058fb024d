// agent/core: addresses that devices claim, and who holds them.
#include "agent/core/learnt_addresses.hpp"
#include "tests/unit/policy_fixture.hpp"

using namespace penstock;
using namespace penstock::core;
using penstock::test::error_of;

namespace {

const MacAddress kCamera = *MacAddress::parse("02:00:00:00:00:21"), kMeter = *MacAddress::parse("02:00:00:00:00:22");
const LearntAddresses::Time kStart{std::chrono::hours(1000)};

IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }

bool nobody(const IpAddress&) { return false; }

} // namespace

BOOST_AUTO_TEST_SUITE(core_learnt_addresses)

BOOST_AUTO_TEST_CASE(the_first_to_claim_an_address_holds_it) {
    LearntAddresses learnt;
    BOOST_TEST(learnt.claim(kCamera, ip("10.20.0.21"), kStart).has_value());
    BOOST_TEST(learnt.holds(kCamera, ip("10.20.0.21")).value());
    BOOST_TEST(!learnt.holds(kCamera, ip("10.20.0.29")).value());
    BOOST_TEST(learnt.claim(kCamera, ip("10.20.0.21"), kStart).has_value());
    BOOST_TEST(error_of(learnt.claim(kMeter, ip("10.20.0.21"), kStart)) ==
               "02:00:00:00:00:21 holds it, until it was not used for 2 hours");
    BOOST_TEST(learnt.claim(kMeter, ip("10.20.0.22"), kStart).has_value());
    BOOST_CHECK(learnt.of(kCamera) == std::vector{ip("10.20.0.21")});
    BOOST_TEST(learnt.of(kMeter).size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_device_holds_so_many_of_a_family_and_no_more) {
    LearntAddresses learnt;
    for (int i = 0; i < 8; i++) {
        BOOST_TEST(learnt.claim(kCamera, ip("10.20.0." + std::to_string(100 + i)), kStart).has_value());
        BOOST_TEST(learnt.claim(kCamera, ip("fd20::" + std::to_string(100 + i)), kStart).has_value());
    }
    const auto refused = error_of(learnt.claim(kCamera, ip("10.20.0.200"), kStart));
    BOOST_TEST(refused ==
               "the device holds 8 addresses of this family already; one is free 2 hours after its last use");
    BOOST_TEST(error_of(learnt.claim(kCamera, ip("fd20::200"), kStart)) == refused);
    BOOST_TEST(learnt.claim(kMeter, ip("10.20.0.200"), kStart).has_value());
    BOOST_TEST(learnt.of(kCamera).size() == 16U);
}

BOOST_AUTO_TEST_CASE(what_nobody_uses_is_free_again) {
    LearntAddresses learnt;
    const auto camera = ip("10.20.0.21"), meter = ip("10.20.0.22");
    BOOST_TEST(learnt.claim(kCamera, camera, kStart).has_value());
    BOOST_TEST(learnt.claim(kMeter, meter, kStart + std::chrono::minutes(30)).has_value());
    BOOST_TEST(!learnt.expire(kStart + std::chrono::minutes(119), nobody));
    // In use: asked about again an hour later.
    BOOST_TEST(!learnt.expire(kStart + std::chrono::minutes(120), [&](const auto& a) { return a == camera; }));
    BOOST_TEST(!learnt.expire(kStart + std::chrono::minutes(149), nobody));
    BOOST_TEST(learnt.expire(kStart + std::chrono::minutes(150), nobody));
    BOOST_TEST(learnt.of(kMeter).empty());
    BOOST_TEST(learnt.of(kCamera).size() == 1U);
    BOOST_TEST(learnt.claim(kCamera, meter, kStart + std::chrono::minutes(151)).has_value());
    BOOST_TEST(learnt.expire(kStart + std::chrono::minutes(180), nobody));
    BOOST_CHECK(learnt.of(kCamera) == std::vector{meter});
}

BOOST_AUTO_TEST_CASE(who_learns_no_more_holds_nothing) {
    LearntAddresses learnt;
    BOOST_TEST(learnt.empty());
    BOOST_TEST(learnt.claim(kCamera, ip("10.20.0.21"), kStart).has_value());
    BOOST_TEST(learnt.claim(kMeter, ip("10.20.0.22"), kStart).has_value());
    BOOST_TEST(learnt.claim(kMeter, ip("10.20.0.23"), kStart).has_value());
    learnt.keep([](const MacAddress& device, const IpAddress& address) {
        return device == kMeter && address != ip("10.20.0.23");
    });
    BOOST_TEST(learnt.of(kCamera).empty());
    BOOST_CHECK(learnt.of(kMeter) == std::vector{ip("10.20.0.22")});
    BOOST_TEST(learnt.claim(kMeter, ip("10.20.0.21"), kStart).has_value());
    BOOST_TEST(!learnt.empty());
    learnt.forget_all();
    BOOST_TEST(learnt.empty());
}

BOOST_AUTO_TEST_SUITE_END()
