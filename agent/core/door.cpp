#include "agent/core/requests.hpp"

#include <algorithm>
#include <array>

namespace penstock::core {
namespace {

// To look, and to hand in what is signed; nothing of the gate, the tunnels or the audit log.
constexpr std::array<std::string_view, 5> kForApi = {"status", "devices", "events", "explain", "push"};
constexpr std::size_t kMaxText = 256; // bytes; what a certificate says is a stranger's choice

} // namespace

bool may_ask(Door door, std::string_view op) {
    return door == Door::control || std::ranges::find(kForApi, op) != kForApi.end();
}

Asker asker_of(uid_t uid, Door door, const nlohmann::json& request) {
    Asker out{.uid = uid};
    if (door != Door::api)
        return out;
    const auto said = request.value("asker", nlohmann::json::object());
    for (const auto* key : {"client", "fingerprint", "role", "client_address"})
        if (said.is_object() && said.contains(key) && said[key].is_string())
            out.client[key] = said[key].get_ref<const std::string&>().substr(0, kMaxText);
    return out;
}

void Asker::sign(nlohmann::json& event) const {
    event["uid"] = uid;
    event.update(client);
}

} // namespace penstock::core
