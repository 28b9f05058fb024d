// agent/core/trusted_time: what has expired once does not come back to life with a clock that is behind.
#include "agent/core/trusted_time.hpp"
#include "tests/unit/state_folder.hpp"

using namespace penstock;
using namespace penstock::core;
using namespace std::chrono_literals;

namespace {

struct Clocks : test::StateFolder {
    policy::Time shown = TrustedTime::built() + std::chrono::days(100);
    std::chrono::steady_clock::time_point steady = std::chrono::steady_clock::now();
    policy::Time expires = TrustedTime::built() + std::chrono::days(36500);
    store::SealedFolder state = opened();
    std::unique_ptr<TrustedTime> time;

    Clocks() { start(); }
    void start() {
        time = std::make_unique<TrustedTime>(state, [this] { return shown; }, [this] { return steady; });
        BOOST_REQUIRE(time->load());
    }
    // The agent looks every second, and keeps what it should.
    void pass(std::chrono::seconds how_long) {
        for (auto left = how_long; left > 0s; left--) {
            shown += 1s;
            steady += 1s;
            if (const auto kept = time->look(expires)) {
                BOOST_REQUIRE(time->keep(*kept));
                writes++;
            }
        }
    }
    // A machine without a battery.
    void reboot() {
        shown = policy::Time{};
        start();
    }
    int writes = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(core_trusted_time, Clocks)

BOOST_AUTO_TEST_CASE(a_clock_that_is_right_is_believed_and_seldom_written) {
    BOOST_TEST((time->now() == shown));
    BOOST_TEST(!time->behind().has_value());
    pass(24h);
    BOOST_TEST((time->now() == shown));
    BOOST_TEST(writes >= 23);
    BOOST_TEST(writes <= 25);
}

BOOST_AUTO_TEST_CASE(never_before_this_program_was_built) {
    BOOST_TEST((TrustedTime::built() > *policy::parse_time("2026-01-01T00:00:00Z")));
    reboot();
    BOOST_TEST((time->now() == TrustedTime::built()));
    BOOST_TEST((*time->behind() == policy::Time{}));
    pass(2h); // it goes on from there
    BOOST_TEST((time->now() == TrustedTime::built() + 2h));
}

BOOST_AUTO_TEST_CASE(never_before_what_the_clock_has_shown) {
    pass(2h);
    const auto seen = shown;
    reboot();
    BOOST_TEST((time->now() >= seen - 61min));
    BOOST_TEST((time->now() <= seen));
    BOOST_TEST(time->behind().has_value());
    shown = seen + 24h; // NTP
    BOOST_TEST((time->now() == shown));
    BOOST_TEST(!time->behind().has_value());
}

// Power that is cut again and again does not hold the time up.
BOOST_AUTO_TEST_CASE(a_clock_that_is_behind_goes_on_over_restarts) {
    pass(2h);
    reboot();
    const auto began = time->now();
    for (int i = 0; i < 30; i++) {
        pass(5min);
        reboot();
    }
    BOOST_TEST((time->now() >= began + 30 * 3min));
}

BOOST_AUTO_TEST_CASE(a_clock_that_was_wrong_for_a_moment_leaves_no_trace) {
    pass(2h);
    const auto before = shown;
    for (int minute = 0; minute < 200; minute++) { // whenever it comes, and again and again
        pass(30s);
        shown += std::chrono::days(300);
        pass(29s);
        shown -= std::chrono::days(300);
        pass(1s);
    }
    const auto seen = shown;
    BOOST_TEST((time->now() == seen));
    reboot();
    BOOST_TEST((time->now() <= seen));
    BOOST_TEST((time->now() >= before - 61min));
}

BOOST_AUTO_TEST_CASE(a_clock_that_is_set_back_is_not_followed) {
    pass(2h);
    const auto seen = shown;
    shown -= std::chrono::days(300);
    BOOST_TEST((time->now() >= seen - 61min));
    BOOST_TEST(time->behind().has_value());
    shown = seen - 2s; // a leap second, or NTP: no reason to say anything
    BOOST_TEST(!time->behind().has_value());
}

// However soon the power goes after it, and whatever clocks show then.
BOOST_AUTO_TEST_CASE(what_has_expired_stays_so) {
    pass(1h);
    expires = shown + 100s;
    pass(101s);
    BOOST_TEST((time->now() >= expires));
    reboot();
    BOOST_TEST((time->now() >= expires));
}

BOOST_AUTO_TEST_CASE(a_clock_far_ahead_lets_the_policy_expire_and_not_the_next_one) {
    expires = shown + std::chrono::days(60);
    pass(1h);
    const auto right = shown;
    shown += std::chrono::days(3650);
    pass(1h);
    shown = right + 1h;
    start();
    BOOST_TEST((time->now() == expires)); // by itself it may come no further
    BOOST_TEST((time->now() < expires + 1min));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_kept_is_told_and_nothing_is_lost) {
    pass(2h);
    const auto seen = time->now();
    state.close("no key");
    BOOST_TEST(!time->keep(seen + 1h).has_value());
    BOOST_TEST((time->now() == seen));
    BOOST_TEST(!TrustedTime(state).load().has_value());
}

BOOST_AUTO_TEST_SUITE_END()
