// What a person reads: it fits, it says what it means, and nothing from outside steers the terminal.
#include "agent/cli/display.hpp"
#include "agent/cli/event_summary.hpp"
#include "agent/cli/format.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <ctime>
#include <sstream>

using namespace penstock::cli;
using nlohmann::json;

namespace {

struct Zone {
    explicit Zone(const char* name) {
        setenv("TZ", name, 1);
        tzset();
    }
    ~Zone() {
        unsetenv("TZ");
        tzset();
    }
};

std::size_t longest_line(const std::string& text) {
    std::istringstream in(text);
    std::size_t longest = 0;
    for (std::string line; std::getline(in, line);)
        longest = std::max(longest, line.size());
    return longest;
}

} // namespace

BOOST_AUTO_TEST_SUITE(cli_format)

BOOST_AUTO_TEST_CASE(sizes_counts_and_durations_are_human) {
    BOOST_TEST(human_size(0) == "0 B");
    BOOST_TEST(human_size(1536) == "1.5 KiB");
    BOOST_TEST(human_size(5e12) == "4.5 TiB");
    BOOST_TEST(human_count(9999) == "9999");
    BOOST_TEST(human_count(12345) == "12.3k");
    BOOST_TEST(human_count(999'999) == "1.0M");
    BOOST_TEST(human_duration(59) == "59 s");
    BOOST_TEST(human_duration(7500) == "2 h 5 min");
    BOOST_TEST(short_duration(7500) == "2 h");
    BOOST_TEST(short_duration(86400 * 3) == "3 d");
}

BOOST_AUTO_TEST_CASE(times_are_local_and_utc) {
    {
        const Zone berlin("CET-1CEST,M3.5.0,M10.5.0/3");
        BOOST_TEST(human_time("2026-11-22T19:00:00.123Z") == "2026-11-22 20:00:00 CET (19:00:00 UTC)");
        BOOST_TEST(human_time("2026-12-31T23:30:00Z") == "2027-01-01 00:30:00 CET (12-31 23:30:00 UTC)");
        BOOST_TEST(local_clock("2026-07-01T19:00:00Z") == "07-01 21:00:00");
    }
    const Zone utc("UTC");
    BOOST_TEST(human_time("2026-11-22T19:00:00Z") == "2026-11-22 19:00:00 UTC");
    BOOST_TEST(human_time("never") == "never");
}

BOOST_AUTO_TEST_CASE(long_sentences_are_wrapped) {
    const std::string sentence(300, 'x');
    BOOST_TEST(wrap("a b c", 4) == "a b c");
    std::string words;
    for (int i = 0; i < 60; i++)
        words += "seventeen letters ";
    BOOST_TEST(longest_line(labelled("gate", words)) <= kColumns);
    // A word that fits on no line stays whole: it may be a path to be copied.
    BOOST_TEST(wrap("at " + sentence, 2).find(sentence) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(devices_fit_eighty_columns_whatever_they_are_called) {
    json devices = json::array();
    devices.push_back({{"name", std::string(64, 'n')},
                       {"mac", "02:00:00:00:00:12"},
                       {"out_bytes", 1099511627776ULL * 1023},
                       {"in_bytes", 1099511627776ULL * 1023},
                       {"dropped", 18'000'000'000'000'000'000ULL},
                       {"seen_s_ago", 86400 * 999}});
    BOOST_TEST(longest_line(show_devices({{"devices", devices}})) <= kColumns);
}

BOOST_AUTO_TEST_CASE(status_fits_eighty_columns) {
    json interfaces = json::array();
    for (int i = 0; i < 12; i++)
        interfaces.push_back({{"name", "enp0s" + std::to_string(i)}, {"role", "other"}, {"guarded", i % 2 == 0}});
    const json status = {
        {"gateway", "gw-1"},
        {"version", "0.1.0"},
        {"time", "2026-11-22T19:00:00Z"},
        {"gate",
         {{"state", "problem"},
          {"problem", "address 10.20.0.99 of uplink wan0 is inside 10.20.0.0/24, where the devices are; take it away"},
          {"hooks", "tcx"},
          {"interfaces", interfaces}}},
        {"ike", {{"trouble", "/etc/penstock/gateway.key is a private key that others may read; mend: chmod 600 it"}}},
        {"tunnels", json::array({{{"name", "cloud"},
                                  {"state", "down"},
                                  {"trouble", "certificate of an unknown CA: \"O=lab, CN=cloud.example\"; the peer "
                                              "could not prove that it is the configured peer"}}})},
        {"root", {{"version", 3}, {"expires", "2026-01-01T00:00:00Z"}, {"expired", true}}},
        {"drops", {{"not_allowed", 123456}}},
        {"drop_reasons",
         {{"not_allowed", "no service of the device's group covers this destination and port at all"}}}};
    const auto text = show_status(status);
    BOOST_TEST(longest_line(text) <= kColumns);
    BOOST_TEST(text.find("NOT GUARDED") != std::string::npos);
    BOOST_TEST(text.find("123.5k") != std::string::npos);
    BOOST_TEST(text.find("version 3 EXPIRED, no bundle is taken") != std::string::npos);
    const json broken = {
        {"root", {{"trouble", "/etc/penstock/root.json is not there; copy the fleet's root document to it"}}}};
    BOOST_TEST(show_status(broken).find("no bundle can be taken: /etc/penstock/root.json") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_thousand_drops_are_a_line_for_each_device_and_reason) {
    EventSummary summary;
    BOOST_TEST(!summary.take({{"event", "tunnel_up"}}));
    for (int i = 0; i < 1000; i++)
        BOOST_TEST(summary.take({{"event", "drop"},
                                 {"time", "2026-11-22T19:00:00.000Z"},
                                 {"device", i % 4 == 0 ? "camera-7" : "thermostat-12"},
                                 {"reason", "not_allowed"},
                                 {"destination", "203.0.113." + std::to_string(i % 200)},
                                 {"protocol", 17},
                                 {"port", 53}}));
    const auto text = summary.flush();
    BOOST_TEST(std::ranges::count(text, '\n') == 2);
    BOOST_TEST(text.find("drop thermostat-12 not_allowed x750 to") < text.find("drop camera-7 not_allowed x250 to"));
    BOOST_TEST(text.find("and others") != std::string::npos);
    BOOST_TEST(summary.empty());
    BOOST_TEST(summary.flush().empty());
}

BOOST_AUTO_TEST_CASE(a_flood_of_forged_macs_stays_readable) {
    EventSummary summary;
    for (int i = 0; i < 100'000; i++)
        summary.take({{"event", "drop"},
                      {"time", "2026-11-22T19:00:00Z"},
                      {"mac", std::to_string(i)},
                      {"reason", "unknown_device"},
                      {"destination", "203.0.113.1"},
                      {"protocol", 6}});
    const auto text = summary.flush();
    BOOST_TEST(static_cast<std::size_t>(std::ranges::count(text, '\n')) == EventSummary::kLines + 1);
    BOOST_TEST(text.find("others various x99000") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(strangers_do_not_steer_the_terminal) {
    const auto text = show_event({{"event", "drop"}, {"time", "x"}, {"mac", "\033[2J\nevil"}});
    BOOST_TEST(text.find('\033') == std::string::npos);
    BOOST_TEST(std::ranges::count(text, '\n') == 1);
}

BOOST_AUTO_TEST_SUITE_END()
