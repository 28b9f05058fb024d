// policy/payload: canonical JSON out, strict JSON in.
#include "policy/document.hpp"
#include "policy/payload.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <nlohmann/json.hpp>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::kYaml;
using penstock::test::read_ok;
using penstock::test::replaced;

namespace {

const std::string& payload() {
    static const std::string text = to_payload(read_ok());
    return text;
}

std::string edit(std::string_view from, std::string_view to) { return replaced(payload(), from, to); }

} // namespace

BOOST_AUTO_TEST_SUITE(policy_payload)

BOOST_AUTO_TEST_CASE(round_trips_and_is_canonical) {
    const auto again = from_payload(payload());
    BOOST_REQUIRE_MESSAGE(again, error_of(again));
    BOOST_CHECK(*again == read_ok());
    BOOST_TEST(to_payload(*again) == payload());
    BOOST_TEST(payload().find(' ') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(does_not_depend_on_the_order_an_author_chose) {
    const std::string other = replaced(replaced(kYaml, "[tcp/443, tcp/8883]", "[tcp/8883, tcp/443]"),
                                       "[telemetry, time]", "[time, telemetry]");
    BOOST_TEST(to_payload(read_ok(other)) == payload());
}

BOOST_AUTO_TEST_CASE(is_refused_when_cut_off_anywhere) {
    for (std::size_t size = 0; size < payload().size(); size++)
        BOOST_REQUIRE_MESSAGE(!from_payload(payload().substr(0, size)), "accepted the first " << size << " bytes");
}

BOOST_AUTO_TEST_CASE(is_refused_with_bytes_after_its_end) {
    CHECK_REFUSED(from_payload(payload() + "x"), "payload: has bytes after its end at byte");
    CHECK_REFUSED(from_payload(payload() + "{}"), "payload: has bytes after its end");
    CHECK_REFUSED(from_payload(payload() + std::string(1, '\0') + "hidden"), "payload: holds a NUL");
}

BOOST_AUTO_TEST_CASE(is_refused_if_not_utf8) {
    CHECK_REFUSED(from_payload(edit("acme-berlin", "acme-\xc3(")), "payload: holds invalid UTF-8");
    CHECK_REFUSED(from_payload(edit("acme-berlin", "acme-\xed\xa0\x80")), "payload: holds invalid UTF-8");
}

BOOST_AUTO_TEST_CASE(refuses_unknown_missing_and_duplicate_keys_with_their_path) {
    CHECK_REFUSED(from_payload(edit("\"fleet\":", "\"fleeet\":")),
                  "payload: unknown key \"fleeet\"; did you mean \"fleet\"?");
    CHECK_REFUSED(from_payload(edit("\"fleet\":\"acme-berlin\",", "")), "payload: the key \"fleet\" is missing");
    CHECK_REFUSED(from_payload(edit("\"version\":42", "\"version\":42,\"version\":43")),
                  "payload: the key \"version\" is there twice");
    CHECK_REFUSED(from_payload(edit("\"ports\":[\"udp/123\"]", "\"ports\":[\"udp/123\"],\"ports\":[\"udp/1\"]")),
                  "payload: services.time: the key \"ports\" is there twice");
    CHECK_REFUSED(from_payload(edit("\"ports\":[\"udp/123\"]", "\"ports\":[\"udp/123\"],\"port\":1")),
                  "payload: services.time: unknown key \"port\"; did you mean \"ports\"?");
    CHECK_REFUSED(from_payload(edit("\"ver", "\"\\u0076er")), "(accepted)"); // an escape is the same key
    CHECK_REFUSED(from_payload(edit("\"version\":42", "\"version\":42,\"\\u0076ersion\":43")), "is there twice");
}

BOOST_AUTO_TEST_CASE(refuses_later_features_by_name) {
    CHECK_REFUSED(from_payload(edit("\"ports\":[\"udp/123\"]", "\"ports\":[\"udp/123\"],\"mud\":\"x\"")),
                  "payload: services.time.mud is not supported by this version of penstock");
    CHECK_REFUSED(from_payload(edit("192.0.2.123/32", "ntp.example")), "the DNS name \"ntp.example\" is not supported");
}

BOOST_AUTO_TEST_CASE(refuses_numbers_out_of_range_and_of_other_kinds) {
    for (const char* bad :
         {"0", "-1", "42.0", "4.2e1", "9007199254740992", "18446744073709551616", "\"42\"", "true", "null", "[42]"})
        CHECK_REFUSED(from_payload(edit("\"version\":42", std::string("\"version\":") + bad)), "payload: version: ");
    for (const char* bad : {"042", "+42", "0x2a", "NaN", "Infinity", "1e999"})
        CHECK_REFUSED(from_payload(edit("\"version\":42", std::string("\"version\":") + bad)), "payload: is not JSON");
    CHECK_REFUSED(from_payload(edit("[0,7]", "[1,7]")), "names a file that is not in \"files\"");
    CHECK_REFUSED(from_payload(edit("[0,7]", "[0]")), "services.time.at: expected [file, line]");
    CHECK_REFUSED(from_payload(edit("[0,7]", "[0,4294967296]")), "services.time.at: expected [file, line]");
    CHECK_REFUSED(from_payload(edit("policy.yaml", "\\u001b[31m")), "files[0]: is not a file's name");
}

BOOST_AUTO_TEST_CASE(refuses_duplicates_and_dangling_names) {
    CHECK_REFUSED(from_payload(edit("02:00:00:00:00:21", "02:00:00:00:00:12")), "the MAC 02:00:00:00:00:12 belongs to");
    CHECK_REFUSED(from_payload(edit("\"group\":\"cameras\"", "\"group\":\"nobody\"")),
                  "payload: devices.camera-1.group: the group \"nobody\" is not defined");
}

BOOST_AUTO_TEST_CASE(limits_hold_while_reading) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    BOOST_CHECK(parse_json(nested(16), "x"));
    CHECK_REFUSED(parse_json(nested(17), "x"), "nested deeper than the limit depth (16)");
    CHECK_REFUSED(parse_json(std::string(10'000'000, '['), "x"), "limit depth (16)");
    BOOST_CHECK(parse_json("\"" + std::string(1'024, 'a') + "\"", "x"));
    CHECK_REFUSED(parse_json("\"" + std::string(1'025, 'a') + "\"", "x"), "limit text_bytes (1024)");
    CHECK_REFUSED(parse_json("{\"" + std::string(1'025, 'a') + "\":1}", "x"), "limit text_bytes (1024)");
    std::string many = "[0";
    for (std::uint64_t i = 1; i < kMaxValues.value; i++)
        many += ",0";
    CHECK_REFUSED(parse_json(many + "]", "x"), "more values than the limit values (4000000)");
    many.resize(many.size() - 2);
    BOOST_CHECK(parse_json(many + "]", "x"));
}

BOOST_AUTO_TEST_CASE(flipping_any_one_bit_never_crashes_and_never_yields_a_wrong_policy) {
    // Whatever is still accepted must be a valid policy: it round-trips.
    std::size_t accepted = 0;
    for (std::size_t i = 0; i < payload().size(); i++)
        for (int bit = 0; bit < 8; bit++) {
            std::string changed = payload();
            changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
            const auto policy = from_payload(changed);
            if (!policy)
                continue;
            accepted++;
            const auto again = from_payload(to_payload(*policy));
            BOOST_REQUIRE_MESSAGE(again && *again == *policy, "byte " << i << " bit " << bit << ": " << changed);
        }
    BOOST_TEST(accepted > 0U);
}

BOOST_AUTO_TEST_CASE(takes_a_full_fleet) {
    nlohmann::json document = nlohmann::json::parse(payload());
    auto& devices = document["devices"] = nlohmann::json::array();
    char mac[18];
    for (unsigned i = 0; i < kMaxDevices.value; i++) {
        std::snprintf(mac, sizeof mac, "02:00:00:%02x:%02x:%02x", i >> 16, i >> 8 & 255, i & 255);
        const std::string low = std::to_string(i >> 8 & 255) + "." + std::to_string(i & 255);
        devices.push_back({{"addresses", {"10." + std::to_string(100 + (i >> 16)) + "." + low}},
                           {"at", {0, i + 1}},
                           {"group", "cameras"},
                           {"mac", mac},
                           {"name", "d" + std::to_string(i)}});
    }
    const auto policy = from_payload(document.dump());
    BOOST_REQUIRE_MESSAGE(policy, error_of(policy));
    BOOST_TEST(policy->devices.size() == kMaxDevices.value);
    devices.push_back(devices.back());
    CHECK_REFUSED(from_payload(document.dump()), "payload: devices: more entries than the limit devices (100000)");
}

BOOST_AUTO_TEST_SUITE_END()
