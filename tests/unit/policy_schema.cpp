// policy/schema: the JSON Schema for editors names the same limits as the reader.
#include "agent/base/file.hpp"
#include "policy/limits.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include <set>
#include <sstream>

using namespace penstock::policy;

BOOST_AUTO_TEST_SUITE(policy_schema)

BOOST_AUTO_TEST_CASE(has_the_limits_of_the_reader) {
    const auto text = penstock::read_file(PENSTOCK_SOURCE_DIR "/policy/schema/policy.schema.json", kMaxRootBytes.value);
    BOOST_REQUIRE(text);
    const auto schema = nlohmann::json::parse(*text);
    const auto& top = schema["properties"];
    const auto& parts = schema["$defs"];
    BOOST_TEST(top["version"]["maximum"] == kMaxVersion.value);
    BOOST_TEST(top["gateways"]["maxItems"] == kMaxGateways.value);
    BOOST_TEST(top["services"]["maxProperties"] == kMaxServices.value);
    BOOST_TEST(top["groups"]["maxProperties"] == kMaxGroups.value);
    BOOST_TEST(top["devices"]["maxItems"] == kMaxDevices.value);
    BOOST_TEST(parts["peers"]["maxItems"] == kMaxPeersPerService.value);
    BOOST_TEST(parts["service"]["properties"]["ports"]["maxItems"] == kMaxPortsPerService.value);
    BOOST_TEST(parts["names"]["maxItems"] == kMaxServicesPerGroup.value);
    BOOST_TEST(parts["device"]["properties"]["addresses"]["oneOf"][1]["maxItems"] == kMaxAddressesPerDevice.value);
    BOOST_TEST(parts["device"]["properties"]["groups"]["maxItems"] == kMaxGroupsPerDevice.value);
    BOOST_TEST(parts["group"]["properties"]["packet_rate"]["maximum"] == kMaxPacketRate.value);
}

// A key that one of the two knows and the other does not shows here.
BOOST_AUTO_TEST_CASE(has_the_keys_of_the_reader) {
    const auto text = penstock::read_file(PENSTOCK_SOURCE_DIR "/policy/schema/policy.schema.json", kMaxRootBytes.value);
    const auto schema = nlohmann::json::parse(text.value());
    const auto keys_of = [](const nlohmann::json& part) {
        std::set<std::string> keys;
        for (const auto& [key, value] : part["properties"].items())
            keys.insert(key);
        return keys;
    };
    // The reader names what it knows when it meets what it does not.
    const auto keys_read = [](const std::string& yaml) {
        const std::string said = penstock::test::error_of(penstock::test::read(yaml));
        const auto at = said.find("; known: ");
        BOOST_REQUIRE_MESSAGE(at != said.npos, said);
        std::set<std::string> keys;
        std::istringstream words(said.substr(at + 9));
        for (std::string word; words >> word;)
            keys.insert(word.substr(0, word.find(',')));
        return keys;
    };
    const auto& parts = schema["$defs"];
    BOOST_TEST(keys_of(schema) == keys_read("qqqqqqqqqqqq: 1\n"), boost::test_tools::per_element());
    for (const auto& [name, yaml] : {std::pair("service", "services: { x: { qqqqqqqqqqqq: 1 } }\n"),
                                     {"group", "groups: { x: { qqqqqqqqqqqq: 1 } }\n"},
                                     {"when", "groups: { x: { when: { qqqqqqqqqqqq: 1 } } }\n"},
                                     {"device", "devices: [{ qqqqqqqqqqqq: 1 }]\n"},
                                     {"lan", "lan: { qqqqqqqqqqqq: 1 }\n"}})
        BOOST_TEST(keys_of(parts[name]) == keys_read(yaml), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
