// policy/window: what the clock on the wall shows, on ordinary days and on those on which the clocks change.
#include "policy/read_values.hpp"
#include "policy/window.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <random>

using namespace penstock;
using namespace penstock::policy;

namespace {

Window window(const char* days, const char* hours, const char* zone) {
    Window out;
    BOOST_REQUIRE(read_days(days, out));
    BOOST_REQUIRE(read_hours(hours, out));
    BOOST_REQUIRE(check_zone(zone));
    out.zone = zone;
    return out;
}

Time utc(const char* text) { return *parse_time(text); }

// Opens and closes, from an instant on, as UTC.
std::vector<std::string> changes(const Window& window, const char* from, std::size_t count) {
    std::vector<std::string> out;
    Time at = utc(from);
    for (std::size_t i = 0; i < count; i++) {
        const auto next = next_change(window, at);
        BOOST_REQUIRE(next);
        BOOST_TEST(is_open(window, *next) != is_open(window, *next - std::chrono::seconds(1)));
        out.push_back(format_time(*next));
        at = *next;
    }
    return out;
}

using Texts = std::vector<std::string>;

} // namespace

BOOST_AUTO_TEST_SUITE(policy_window)

BOOST_AUTO_TEST_CASE(opens_on_its_days_at_its_hours_in_its_zone) {
    const auto office = window("mon-fri", "06:00-20:00", "Europe/Berlin");
    BOOST_TEST(!is_open(office, utc("2026-11-20T04:59:59Z"))); // Friday, winter: UTC+1
    BOOST_TEST(is_open(office, utc("2026-11-20T05:00:00Z")));
    BOOST_TEST(is_open(office, utc("2026-11-20T18:59:59Z")));
    BOOST_TEST(!is_open(office, utc("2026-11-20T19:00:00Z")));
    BOOST_TEST(!is_open(office, utc("2026-11-21T12:00:00Z")));
    BOOST_TEST(is_open(office, utc("2026-07-20T04:00:00Z"))); // summer: UTC+2
    BOOST_CHECK((changes(office, "2026-11-20T12:00:00Z", 2) == Texts{"2026-11-20T19:00:00Z", "2026-11-23T05:00:00Z"}));
}

BOOST_AUTO_TEST_CASE(a_window_over_midnight_belongs_to_the_day_it_begins_on) {
    const auto night = window("fri", "22:00-06:00", "Etc/UTC");
    BOOST_TEST(!is_open(night, utc("2026-11-20T05:00:00Z"))); // Friday morning
    BOOST_TEST(is_open(night, utc("2026-11-20T22:00:00Z")));
    BOOST_TEST(is_open(night, utc("2026-11-21T05:59:59Z")));
    BOOST_TEST(!is_open(night, utc("2026-11-21T06:00:00Z")));
    BOOST_TEST(!is_open(night, utc("2026-11-21T23:00:00Z")));
    BOOST_CHECK((changes(window("sat,sun", "00:00-24:00", "Etc/UTC"), "2026-11-20T12:00:00Z", 2) ==
                 Texts{"2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"}));
}

BOOST_AUTO_TEST_CASE(berlin_spring_an_hour_is_missing) {
    // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
    BOOST_CHECK((changes(window("sun", "01:30-03:30", "Europe/Berlin"), "2026-03-28T12:00:00Z", 2) ==
                 Texts{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"}));
    // Wholly inside the missing hour: it does not open on that day.
    BOOST_CHECK((changes(window("sun", "02:15-02:45", "Europe/Berlin"), "2026-03-28T12:00:00Z", 1) ==
                 Texts{"2026-04-05T00:15:00Z"}));
    // Begins inside it: opens when the clock jumps over its beginning.
    BOOST_CHECK((changes(window("sun", "02:30-04:00", "Europe/Berlin"), "2026-03-28T12:00:00Z", 2) ==
                 Texts{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}));
}

BOOST_AUTO_TEST_CASE(berlin_autumn_an_hour_comes_twice) {
    // 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
    BOOST_CHECK((changes(window("sun", "01:30-03:30", "Europe/Berlin"), "2026-10-24T12:00:00Z", 2) ==
                 Texts{"2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z"}));
    // Inside the hour that comes twice: it opens twice.
    BOOST_CHECK(
        (changes(window("sun", "02:15-02:45", "Europe/Berlin"), "2026-10-24T12:00:00Z", 4) ==
         Texts{"2026-10-25T00:15:00Z", "2026-10-25T00:45:00Z", "2026-10-25T01:15:00Z", "2026-10-25T01:45:00Z"}));
}

BOOST_AUTO_TEST_CASE(new_york_spring_and_autumn) {
    // 2026-03-08: 02:00 EST becomes 03:00 EDT at 07:00 UTC; 2026-11-01: 02:00 EDT becomes 01:00 EST at 06:00 UTC.
    const auto shop = window("mon-sun", "01:30-09:00", "America/New_York");
    BOOST_CHECK((changes(shop, "2026-03-08T00:00:00Z", 2) == Texts{"2026-03-08T06:30:00Z", "2026-03-08T13:00:00Z"}));
    BOOST_CHECK((changes(shop, "2026-11-01T00:00:00Z", 4) == Texts{"2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z",
                                                                   "2026-11-01T06:30:00Z", "2026-11-01T14:00:00Z"}));
    BOOST_CHECK((changes(window("sun", "02:00-03:00", "America/New_York"), "2026-03-07T12:00:00Z", 1) ==
                 Texts{"2026-03-15T06:00:00Z"}));
    // Over midnight into the switch.
    BOOST_CHECK((changes(window("sat", "23:00-04:00", "America/New_York"), "2026-03-07T12:00:00Z", 2) ==
                 Texts{"2026-03-08T04:00:00Z", "2026-03-08T08:00:00Z"}));
}

BOOST_AUTO_TEST_CASE(the_next_change_is_the_one_that_a_watch_on_the_wall_sees) {
    std::mt19937 random(20261122);
    const char* zones[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Etc/UTC"};
    const char* around[] = {"2026-03-06T00:00:00Z", "2026-03-27T00:00:00Z", "2026-04-03T00:00:00Z",
                            "2026-10-02T00:00:00Z", "2026-10-23T00:00:00Z", "2026-10-30T00:00:00Z"};
    for (int round = 0; round < 60; round++) {
        Window window;
        window.zone = zones[random() % 5];
        window.days = static_cast<std::uint8_t>(1 + random() % 127);
        window.begin = static_cast<std::uint16_t>(random() % 96 * 15);
        do
            window.end = static_cast<std::uint16_t>((1 + random() % 96) * 15);
        while (window.begin == window.end);
        Time at = utc(around[random() % 6]);
        const Time end = at + std::chrono::days(4);
        bool open = is_open(window, at);
        auto expected = next_change(window, at);
        for (; at < end; at += std::chrono::minutes(1)) {
            if (is_open(window, at) == open)
                continue;
            BOOST_REQUIRE_MESSAGE(expected == at, window.zone << " " << days_text(window) << " " << hours_text(window)
                                                              << ": changes at " << format_time(at));
            open = !open;
            expected = next_change(window, at);
        }
        BOOST_REQUIRE(!expected || *expected >= end);
    }
}

BOOST_AUTO_TEST_CASE(a_window_that_is_always_open_never_changes) {
    BOOST_CHECK(!next_change(window("mon-sun", "00:00-24:00", "Europe/Berlin"), utc("2026-03-28T12:00:00Z")));
}

BOOST_AUTO_TEST_CASE(days_and_hours_are_written_in_one_way) {
    for (const auto& [text, same] : {std::pair("mon-fri", "mon-fri"),
                                     {"sat, sun", "sat,sun"},
                                     {"fri-mon", "mon,fri-sun"},
                                     {"sun,mon,wed", "mon,wed,sun"},
                                     {"tue", "tue"},
                                     {"mon-sun", "mon-sun"}})
        BOOST_TEST(days_text(window(text, "00:00-24:00", "Etc/UTC")) == same);
    BOOST_TEST(hours_text(window("mon", "22:00-06:05", "Etc/UTC")) == "22:00-06:05");
    Window out;
    for (const char* bad : {"", "mon-", "monday", "mon,", ",mon", "mon;tue", "MON"})
        BOOST_CHECK_MESSAGE(!read_days(bad, out), bad);
    for (const char* bad : {"", "6:00-20:00", "06:00", "06:00-06:00", "06:00-24:01", "24:00-06:00", "22:00-00:00",
                            "06:60-07:00", "06:00-2000", "06.00-20.00"})
        BOOST_CHECK_MESSAGE(!read_hours(bad, out), bad);
    for (const char* bad : {"", "Europe/Berln", "/etc/passwd", "../Europe/Berlin", "CEST"})
        CHECK_REFUSED(check_zone(bad), "is not a time zone that this machine knows");
}

BOOST_AUTO_TEST_SUITE_END()
