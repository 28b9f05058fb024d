#include "agent/api/routes.hpp"

#include "agent/core/pending_push.hpp"
#include "policy/text.hpp"

#include <algorithm>
#include <charconv>

namespace penstock::api {
namespace {

constexpr std::size_t kShown = 100; // of what a stranger wrote

std::string shown(std::string_view text) { return policy::quote(text.substr(0, kShown)); }

tl::unexpected<Refusal> refuse(unsigned code, std::string error, std::string allow = "") {
    return tl::unexpected(Refusal{code, std::move(error), std::move(allow)});
}

// What is wrong with it; empty: nothing.
std::string set_flag(bool& flag, std::string_view name, std::string_view value) {
    flag = value == "true";
    return flag || value == "false" ? "" : "parameter " + std::string(name) + " is true or false, not " + shown(value);
}

std::string set_wait(Call& call, std::string_view value) {
    std::uint64_t seconds = 0;
    const std::string text(value);
    const auto* const end = text.data() + text.size();
    if (const auto read = std::from_chars(text.data(), end, seconds);
        read.ec != std::errc() || read.ptr != end || seconds < std::uint64_t(core::kShortestWait.count()) ||
        seconds > std::uint64_t(core::kLongestWait.count()))
        return "parameter wait_healthy is a number of seconds from " + std::to_string(core::kShortestWait.count()) +
               " to " + std::to_string(core::kLongestWait.count()) + ", not " + shown(value);
    call.wait_healthy = seconds;
    return "";
}

std::string add_probe(Call& call, std::string_view value) {
    if (!policy::is_name(value))
        return "parameter probe is the name of a device, not " + shown(value);
    if (call.probes.size() == core::kMostProbes)
        return "there are at most " + std::to_string(core::kMostProbes) + " parameters probe";
    call.probes.emplace_back(value);
    return "";
}

std::string set_parameter(Call& call, std::string_view name, std::string_view value) {
    if (name == kDryRun)
        return set_flag(call.dry_run, name, value);
    if (name == kFollow)
        return set_flag(call.follow, name, value);
    return name == kWaitHealthy ? set_wait(call, value) : add_probe(call, value);
}

// "?name=value", or "?name" for "?name=true", joined by "&".
tl::expected<Call, Refusal> with_parameters(Call call, std::string_view query) {
    const auto& known = call.route->parameters;
    while (!query.empty()) {
        const auto one = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), one.size() + 1));
        const auto equals = one.find('=');
        const auto name = one.substr(0, equals);
        const auto value = equals == std::string_view::npos ? "true" : one.substr(equals + 1);
        if (std::ranges::find(known, name) == known.end())
            return refuse(400, std::string(call.route->path) + " has no parameter " + shown(name));
        if (auto wrong = set_parameter(call, name, value); !wrong.empty())
            return refuse(400, std::move(wrong));
    }
    if (!call.probes.empty() && !call.wait_healthy)
        return refuse(400, "parameter probe goes with wait_healthy");
    return call;
}

} // namespace

const std::vector<Route>& routes() {
    using core::Role;
    static const std::vector<Route> table = {
        {"GET", "/v1/status", What::status, Role::viewer, {}},
        {"GET", "/v1/devices", What::devices, Role::viewer, {}},
        {"GET", "/v1/policy", What::policy, Role::viewer, {}},
        {"GET", "/metrics", What::metrics, Role::viewer, {}},
        {"GET", "/v1/events", What::events, Role::operating, {kFollow}},
        {"POST", "/v1/explain", What::explain, Role::operating, {}},
        {"POST", "/v1/bundles", What::bundles, Role::publisher, {kDryRun, kWaitHealthy, kProbe}},
    };
    return table;
}

tl::expected<Call, Refusal> find_call(std::string_view method, std::string_view target, const Client& client) {
    // Before anything else: whoever has no role learns nothing.
    if (client.role == core::Role::none)
        return refuse(403, "certificate " + client.name + " (" + client.fingerprint +
                               ") has no role on this gateway; list it in [api] of its configuration");
    const auto mark = target.find('?');
    const auto path = target.substr(0, mark);
    const auto found = std::ranges::find_if(routes(), [&](const Route& route) { return path == route.path; });
    if (found == routes().end())
        return refuse(404, "there is no " + shown(path));
    if (method != found->method)
        return refuse(405, std::string(found->path) + " is asked with " + found->method, found->method);
    auto call = with_parameters({.route = &*found}, mark == std::string_view::npos ? "" : target.substr(mark + 1));
    if (!call)
        return call;
    const auto least = call->dry_run ? kLeastForDryRun : found->least;
    if (client.role < least)
        return refuse(403, std::string(call->dry_run ? "a dry run" : found->path) + " needs the role " +
                               std::string(core::role_name(least)) + "; certificate " + client.name + " has the role " +
                               std::string(core::role_name(client.role)));
    return call;
}

tl::expected<nlohmann::json, Refusal> explain_request(std::string_view body) {
    auto out = nlohmann::json::parse(body, nullptr, false);
    if (!out.is_object())
        return refuse(400, "the body must be one JSON object");
    for (const auto& [key, value] : out.items()) {
        if (std::ranges::find(kExplainKeys, key) == std::end(kExplainKeys))
            return refuse(400, "unknown key " + shown(key) + "; known are device, to, from, proto and port");
        if (key == "port" ? !value.is_number_unsigned() : !value.is_string())
            return refuse(400, key + " must be " + (key == "port" ? "a whole number" : "a text"));
    }
    out["op"] = "explain";
    return out;
}

unsigned code_of(What what, const nlohmann::json& answer) {
    if (answer.value("ok", false))
        return 200;
    if (what == What::explain)
        return 400;
    return answer.contains("refusal") ? 422 : 500;
}

} // namespace penstock::api
