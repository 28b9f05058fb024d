// policy/schema: the JSON Schema for editors names the same limits as the reader.
#include "agent/base/file.hpp"
#include "policy/limits.hpp"

#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

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
    BOOST_TEST(parts["service"]["properties"]["to"]["maxItems"] == kMaxPrefixesPerService.value);
    BOOST_TEST(parts["service"]["properties"]["ports"]["maxItems"] == kMaxPortsPerService.value);
    BOOST_TEST(parts["group"]["properties"]["allow"]["maxItems"] == kMaxServicesPerGroup.value);
    BOOST_TEST(parts["device"]["properties"]["addresses"]["maxItems"] == kMaxAddressesPerDevice.value);
}

BOOST_AUTO_TEST_SUITE_END()
