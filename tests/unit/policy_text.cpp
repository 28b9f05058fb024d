// policy/text: times, globs, names, hints and harmless quotes.
#include "policy/text.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <array>

using namespace penstock;
using namespace penstock::policy;

BOOST_AUTO_TEST_SUITE(policy_text)

BOOST_AUTO_TEST_CASE(times_are_utc_and_round_trip) {
    for (const char* text : {"1970-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2028-02-29T23:59:59Z"}) {
        BOOST_REQUIRE(parse_time(text));
        BOOST_TEST(format_time(*parse_time(text)) == text);
    }
    BOOST_TEST(parse_time("2001-09-09T01:46:40Z")->time_since_epoch().count() == 1'000'000'000);
}

BOOST_AUTO_TEST_CASE(refuses_other_shapes_of_time_and_days_that_do_not_exist) {
    for (const char* text :
         {"", "2027-01-01", "2027-01-01T00:00:00", "2027-01-01 00:00:00Z", "2027-01-01T00:00:00+01:00",
          "2027-01-01T00:00:00.0Z", "2027-02-29T00:00:00Z", "2027-13-01T00:00:00Z", "2027-01-01T24:00:00Z",
          "2027-01-01T00:60:00Z", "2027-01-01T00:00:60Z", "x027-01-01T00:00:00Z"})
        BOOST_TEST(!parse_time(text), text);
}

BOOST_AUTO_TEST_CASE(globs_match_whole_names) {
    BOOST_TEST(glob_matches("gw-*", "gw-1"));
    BOOST_TEST(glob_matches("gw-*", "gw-"));
    BOOST_TEST(glob_matches("*", "anything"));
    BOOST_TEST(glob_matches("gw-?", "gw-1"));
    BOOST_TEST(glob_matches("*-a-*-b", "x-a-a-b-b"));
    BOOST_TEST(!glob_matches("gw-*", "xgw-1"));
    BOOST_TEST(!glob_matches("gw-?", "gw-12"));
    BOOST_TEST(!glob_matches("gw-1", "gw-12"));
    BOOST_TEST(!glob_matches("", "gw-1"));
}

BOOST_AUTO_TEST_CASE(a_glob_of_stars_takes_no_exponential_time) {
    std::string glob;
    for (int i = 0; i < 31; i++)
        glob += "*a";
    BOOST_TEST(!glob_matches(glob + "b", std::string(4'000, 'a')));
}

BOOST_AUTO_TEST_CASE(names_are_plain) {
    for (const char* text : {"a", "acme-berlin", "A.b_c-9", "9"})
        BOOST_TEST(is_name(text), text);
    for (const char* text : {"", "-a", ".a", "a b", "a/b", "a\n", "\xc3\xa4", "a*"})
        BOOST_TEST(!is_name(text), text);
    BOOST_TEST(is_name(std::string(64, 'a')));
    BOOST_TEST(!is_name(std::string(65, 'a')));
    BOOST_TEST(is_glob("*"));
    BOOST_TEST(!is_glob("gw [0-9]"));
}

BOOST_AUTO_TEST_CASE(hints_only_at_what_is_close) {
    constexpr std::array<std::string_view, 3> known{"ports", "to", "services"};
    BOOST_TEST(did_you_mean("port", known) == "; did you mean \"ports\"?");
    BOOST_TEST(did_you_mean("servcies", known) == "; did you mean \"services\"?");
    BOOST_TEST(did_you_mean("elephant", known).empty());
}

BOOST_AUTO_TEST_CASE(quotes_are_harmless_for_a_terminal) {
    BOOST_TEST(quote("a\x1b[31m\n\xff") == "\"a?[31m??\"");
    BOOST_TEST(quote(std::string(1'000, 'x')).size() < 100U);
}

BOOST_AUTO_TEST_SUITE_END()
