// What can be asked, by whom, and with which parameters. openapi.yaml says the same to people; a test compares them.
#pragma once

#include "agent/api/client.hpp"

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::api {

enum class What { status, devices, policy, events, explain, metrics, bundles };

struct Route {
    const char* method;
    const char* path;
    What what;
    core::Role least; // who may
    std::vector<const char*> parameters;
};
const std::vector<Route>& routes();
// A dry run changes nothing: less is needed for it than for a push.
inline constexpr auto kDryRun = "dry_run";           // true or false
inline constexpr auto kFollow = "follow";            // the same
inline constexpr auto kWaitHealthy = "wait_healthy"; // seconds
inline constexpr auto kProbe = "probe";              // name of a device, each in a parameter of its own
inline constexpr core::Role kLeastForDryRun = core::Role::operating;

// Why there is no answer, as HTTP says it.
struct Refusal {
    unsigned code = 500;
    std::string error;
    std::string allow; // of 405: the method that would do
};

struct Call {
    const Route* route = nullptr;
    bool dry_run = false, follow = false;
    std::optional<std::uint64_t> wait_healthy;
    std::vector<std::string> probes;
};
tl::expected<Call, Refusal> find_call(std::string_view method, std::string_view target, const Client& client);

// What penstockd is asked, from the body of POST /v1/explain.
tl::expected<nlohmann::json, Refusal> explain_request(std::string_view body);
inline constexpr std::string_view kExplainKeys[] = {"device", "to", "from", "proto", "port"};

// The status code of an answer of penstockd.
unsigned code_of(What what, const nlohmann::json& answer);

} // namespace penstock::api
