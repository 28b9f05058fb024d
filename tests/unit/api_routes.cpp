// What penstock-api answers, to whom; and that openapi.yaml and agent/cli/README.md say the same.
#include "agent/api/routes.hpp"
#include "agent/core/pending_push.hpp"

#include <boost/test/unit_test.hpp>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <yaml-cpp/yaml.h>

using namespace penstock;
using namespace penstock::api;
using core::Role;

namespace {

const std::string kSource = PENSTOCK_SOURCE_DIR;

unsigned code(const std::string& method, const std::string& target, Role role) {
    const auto call = find_call(method, target, {.name = "dns:x", .role = role});
    return call ? 200 : call.error().code;
}

std::string lower(std::string text) {
    for (auto& c : text)
        c = static_cast<char>(std::tolower(c));
    return text;
}

std::set<std::string> keys(const YAML::Node& node) {
    std::set<std::string> out;
    for (const auto& one : node)
        out.insert(one.first.as<std::string>());
    return out;
}

std::set<std::string> texts(const YAML::Node& node) {
    std::set<std::string> out;
    for (const auto& one : node)
        out.insert(one.as<std::string>());
    return out;
}

// The keys in the table of one section of the README: of its objects the first word, those below `prefix` if it is not
// empty. True: always there.
std::map<std::string, bool> documented(const std::string& section, const std::string& prefix) {
    std::ifstream file(kSource + "/agent/cli/README.md");
    std::map<std::string, bool> out;
    bool inside = false;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("## "))
            inside = line == "## " + section;
        if (!inside || !line.starts_with("| `"))
            continue;
        const auto cell = line.substr(0, line.find(" | ", 2));
        for (std::size_t at = 0; (at = cell.find('`', at)) != std::string::npos;) {
            const auto end = cell.find('`', at + 1);
            auto key = cell.substr(at + 1, end - at - 1);
            at = end + 1;
            if (!key.starts_with(prefix))
                continue;
            key = key.substr(prefix.size());
            const bool nested = key.find('.') != std::string::npos;
            const bool maybe = key.ends_with('?') && !nested;
            key = key.substr(0, key.find_first_of(".[?"));
            out[key] = !maybe;
        }
    }
    return out;
}

void compare(const std::map<std::string, bool>& readme, const YAML::Node& schema, const std::string& name) {
    const auto properties = keys(schema["properties"]), required = texts(schema["required"]);
    BOOST_TEST(readme.size() >= 2U, name << " was not found in the README");
    for (const auto& [key, always] : readme) {
        BOOST_TEST(properties.contains(key), "openapi.yaml: " << name << " lacks " << key);
        BOOST_TEST(required.contains(key) == always, "openapi.yaml: " << name << ": is " << key << " required?");
    }
    for (const auto& key : properties)
        BOOST_TEST(readme.contains(key), "openapi.yaml: " << name << " has " << key << ", which the README has not");
}

} // namespace

BOOST_AUTO_TEST_SUITE(api_routes)

BOOST_AUTO_TEST_CASE(each_role_may_what_it_may) {
    for (const auto* path : {"/v1/status", "/v1/devices", "/v1/policy", "/metrics"}) {
        BOOST_TEST(code("GET", path, Role::none) == 403U);
        BOOST_TEST(code("GET", path, Role::viewer) == 200U);
        BOOST_TEST(code("GET", path, Role::publisher) == 200U);
    }
    BOOST_TEST(code("GET", "/v1/events", Role::viewer) == 403U);
    BOOST_TEST(code("GET", "/v1/events?follow", Role::operating) == 200U);
    BOOST_TEST(code("POST", "/v1/explain", Role::viewer) == 403U);
    BOOST_TEST(code("POST", "/v1/bundles", Role::operating) == 403U);
    BOOST_TEST(code("POST", "/v1/bundles?dry_run=false", Role::operating) == 403U);
    BOOST_TEST(code("POST", "/v1/bundles?dry_run=true", Role::viewer) == 403U);
    BOOST_TEST(code("POST", "/v1/bundles?dry_run=true", Role::operating) == 200U);
    BOOST_TEST(code("POST", "/v1/bundles?dry_run=true&dry_run=false", Role::operating) == 403U);
    BOOST_TEST(code("POST", "/v1/bundles", Role::publisher) == 200U);
}

BOOST_AUTO_TEST_CASE(what_is_not_there_is_said_only_to_clients_with_a_role) {
    BOOST_TEST(code("GET", "/v1/nothing", Role::none) == 403U);
    BOOST_TEST(code("GET", "/v1/nothing", Role::viewer) == 404U);
    BOOST_TEST(code("GET", "/v1/status/", Role::viewer) == 404U);
    BOOST_TEST(code("GET", "/v1/../v1/status", Role::viewer) == 404U);
    BOOST_TEST(code("GET", "", Role::viewer) == 404U);
    BOOST_TEST(code("POST", "/v1/status", Role::viewer) == 405U);
    BOOST_TEST(code("HEAD", "/v1/status", Role::viewer) == 405U);
    BOOST_TEST(code("GET", "/v1/status?x", Role::viewer) == 400U);
    BOOST_TEST(code("GET", "/v1/events?follow=yes", Role::operating) == 400U);
    BOOST_TEST(code("GET", "/v1/events?dry_run", Role::operating) == 400U);
    BOOST_TEST(find_call("POST", "/v1/status", {.role = Role::viewer}).error().allow == "GET");
}

BOOST_AUTO_TEST_CASE(a_push_may_wait_to_be_found_well) {
    const Client publisher{.name = "dns:x", .role = Role::publisher};
    const auto call = find_call("POST", "/v1/bundles?wait_healthy=60&probe=thermostat-12&probe=camera_7.b", publisher);
    BOOST_REQUIRE(call.has_value());
    BOOST_TEST(call->wait_healthy.value() == 60U);
    BOOST_TEST((call->probes == std::vector<std::string>{"thermostat-12", "camera_7.b"}));
    BOOST_TEST(!call->dry_run);
    std::string most = "wait_healthy=5";
    for (std::size_t i = 0; i < core::kMostProbes; i++)
        most += "&probe=a";
    for (const auto& good : {std::string("wait_healthy=3600"), most})
        BOOST_TEST(code("POST", "/v1/bundles?" + good, Role::publisher) == 200U, good);
    for (const auto& bad :
         {std::string("wait_healthy"), std::string("wait_healthy=4"), std::string("wait_healthy=3601"),
          std::string("wait_healthy=-5"), std::string("wait_healthy=5s"),
          std::string("wait_healthy=18446744073709551621"), std::string("probe=a"), most + "&probe=a",
          std::string("wait_healthy=9&probe="), std::string("wait_healthy=9&probe=a%20b")})
        BOOST_TEST(code("POST", "/v1/bundles?" + bad, Role::publisher) == 400U, bad);
    BOOST_TEST(code("POST", "/v1/bundles?wait_healthy=60", Role::operating) == 403U);
    BOOST_TEST(code("GET", "/v1/events?wait_healthy=60", Role::publisher) == 400U);
}

BOOST_AUTO_TEST_CASE(a_question_is_read_strictly) {
    const auto good = explain_request(R"({"device":"d","to":"192.0.2.1","proto":"tcp","port":443})");
    BOOST_REQUIRE(good.has_value());
    BOOST_TEST((*good)["op"] == "explain");
    for (const auto* bad :
         {"", "[]", "1", "{\"device\":1}", "{\"port\":\"1\"}", "{\"port\":-1}", "{\"op\":\"guard\"}", "{} {}"})
        BOOST_TEST(!explain_request(bad).has_value(), bad);
    BOOST_TEST(!explain_request(std::string(65536, '[')).has_value());
}

BOOST_AUTO_TEST_CASE(answers_of_penstockd_have_a_code) {
    BOOST_TEST(code_of(What::bundles, {{"ok", true}}) == 200U);
    BOOST_TEST(code_of(What::bundles, {{"ok", false}, {"refusal", "expired"}}) == 422U);
    BOOST_TEST(code_of(What::bundles, {{"ok", false}}) == 500U);
    BOOST_TEST(code_of(What::explain, {{"ok", false}}) == 400U);
}

BOOST_AUTO_TEST_CASE(openapi_has_the_routes_and_no_others) {
    const auto file = YAML::LoadFile(kSource + "/agent/api/openapi.yaml");
    std::set<std::string> written, ours;
    for (const auto& path : file["paths"])
        for (const auto& method : path.second)
            written.insert(method.first.as<std::string>() + " " + path.first.as<std::string>());
    for (const auto& route : routes()) {
        ours.insert(lower(route.method) + " " + route.path);
        const auto one = file["paths"][route.path][lower(route.method)];
        BOOST_TEST_CONTEXT(route.path) {
            BOOST_REQUIRE(one);
            BOOST_TEST(one["x-role"].as<std::string>() == core::role_name(route.least));
            std::set<std::string> parameters;
            for (const auto& parameter : one["parameters"])
                parameters.insert(parameter["name"].as<std::string>());
            BOOST_TEST((parameters == std::set<std::string>(route.parameters.begin(), route.parameters.end())));
            if (parameters.contains(kDryRun))
                BOOST_TEST(one["x-role-dry-run"].as<std::string>() == core::role_name(kLeastForDryRun));
            BOOST_TEST(bool(one["requestBody"]) == (std::string(route.method) == "POST"));
        }
    }
    BOOST_TEST((written == ours));
}

BOOST_AUTO_TEST_CASE(openapi_has_the_keys_and_no_others) {
    const auto schemas = YAML::LoadFile(kSource + "/agent/api/openapi.yaml")["components"]["schemas"];
    compare(documented("status", ""), schemas["Status"], "Status");
    compare(documented("explain", ""), schemas["Explanation"], "Explanation");
    compare(documented("devices", "devices[]."), schemas["Device"], "Device");
    BOOST_TEST((keys(schemas["Question"]["properties"]) ==
                std::set<std::string>(std::begin(kExplainKeys), std::end(kExplainKeys))));
}

BOOST_AUTO_TEST_SUITE_END()
