#include "agent/api/routes.hpp"

#include "policy/text.hpp"

#include <algorithm>

namespace penstock::api {
namespace {

constexpr std::size_t kShown = 100; // of what a stranger wrote

std::string shown(std::string_view text) { return policy::quote(text.substr(0, kShown)); }

tl::unexpected<Refusal> refuse(unsigned code, std::string error, std::string allow = "") {
    return tl::unexpected(Refusal{code, std::move(error), std::move(allow)});
}

bool* flag_of(Call& call, std::string_view name) { return name == kDryRun ? &call.dry_run : &call.follow; }

// "?name", "?name=true" or "?name=false", joined by "&".
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
        if (value != "true" && value != "false")
            return refuse(400, "parameter " + std::string(name) + " is true or false, not " + shown(value));
        *flag_of(call, name) = value == "true";
    }
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
        {"POST", "/v1/bundles", What::bundles, Role::publisher, {kDryRun}},
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
