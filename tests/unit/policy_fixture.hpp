// What the policy and bundle tests share: a small policy as YAML, edits of it, and short ways to read it.
#pragma once

#include "policy/yaml.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace penstock::test {

// Line numbers matter to the tests: services start at 6, groups at 9, devices at 12.
inline const std::string kYaml = R"(fleet: acme-berlin
version: 42
expires: 2027-01-01T00:00:00Z
gateways: ["gw-*"]
services:
  telemetry: { to: [203.0.113.10/32, "2001:db8::10/128"], ports: [tcp/443, tcp/8883] }
  time:      { to: [192.0.2.123/32], ports: [udp/123] }
groups:
  thermostats: { allow: [telemetry, time] }
  cameras:     { allow: [time] }
devices:
  - { name: thermostat-12, mac: "02:00:00:00:00:12", addresses: [10.20.0.12, "fd20::12"], group: thermostats }
  - { name: camera-1, mac: "02:00:00:00:00:21", addresses: [10.20.0.21], group: cameras }
)";

inline std::string replaced(std::string text, std::string_view from, std::string_view to) {
    const auto at = text.find(from);
    BOOST_REQUIRE_MESSAGE(at != text.npos, "the fixture does not hold: " << from);
    return text.replace(at, from.size(), to);
}

inline Result<policy::Policy> read(const std::string& yaml) { return policy::read_yaml({{"policy.yaml", yaml}}); }

inline policy::Policy read_ok(const std::string& yaml = kYaml) {
    auto policy = read(yaml);
    BOOST_REQUIRE_MESSAGE(policy, (policy ? "" : policy.error().message()));
    return std::move(*policy);
}

template <class T> std::string error_of(const T& result) { return result ? "(accepted)" : result.error().message(); }

inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// The refusal must hold each part.
#define CHECK_REFUSED(result, ...)                                                                                     \
    do {                                                                                                               \
        const std::string said = ::penstock::test::error_of(result);                                                   \
        for (const std::string& part : std::vector<std::string>{__VA_ARGS__})                                          \
            BOOST_CHECK_MESSAGE(::penstock::test::has(said, part), "expected \"" << part << "\" in: " << said);        \
    } while (false)

} // namespace penstock::test
