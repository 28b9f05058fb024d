#include "agent/core/pending_push.hpp"

namespace penstock::core {
namespace {

using Json = nlohmann::json;

Json id_json(const PolicyId& id) { return {{"version", id.version}, {"digest", id.digest}}; }

// Of the ledger, which is sealed: another form is an agent's mistake, or a newer agent's.
PolicyId read_id(const Json& entry) {
    return {.version = entry.at("version").get<std::uint64_t>(), .digest = entry.at("digest").get<std::string>()};
}

template <typename T, typename Read>
Result<std::optional<T>> read_entry(const Json& entry, const char* what, Read read) {
    if (entry.is_null())
        return std::optional<T>();
    try {
        return std::optional<T>(read());
    } catch (const Json::exception&) {
        return fail(std::string("the ledger's entry about ") + what +
                    " is of a form that this version does not know; install the version that wrote it");
    }
}

} // namespace

Json PendingPush::to_json() const {
    return {{"pushed", id_json(pushed)}, {"before", id_json(before)}, {"until", until.time_since_epoch().count()},
            {"wait", wait.count()},      {"probes", probes},          {"uid", by.uid},
            {"client", by.client}};
}

Result<std::optional<PendingPush>> PendingPush::read(const Json& entry) {
    return read_entry<PendingPush>(entry, "a push that waits", [&] {
        return PendingPush{.pushed = read_id(entry.at("pushed")),
                           .before = read_id(entry.at("before")),
                           .until = policy::Time(std::chrono::seconds(entry.at("until").get<std::int64_t>())),
                           .wait = std::chrono::seconds(entry.at("wait").get<std::int64_t>()),
                           .probes = entry.at("probes").get<std::vector<std::string>>(),
                           .by = {.uid = entry.at("uid").get<uid_t>(), .client = entry.at("client")}};
    });
}

Json WentBack::to_json() const { return {{"to", id_json(to)}, {"from", id_json(from)}, {"why", why}}; }

Result<std::optional<WentBack>> WentBack::read(const Json& entry) {
    return read_entry<WentBack>(entry, "a push that went back", [&] {
        return WentBack{.to = read_id(entry.at("to")),
                        .from = read_id(entry.at("from")),
                        .why = entry.at("why").get<std::string>()};
    });
}

PushWatch::PushWatch(const PendingPush& push, const Look& look) : pushed_(push.pushed) {
    for (const auto& device : push.probes)
        probes_.push_back({device, look(device).value_or(Traffic{})});
}

std::vector<std::string> PushWatch::missing(const Look& look, const std::vector<std::string>& tunnels_down) const {
    std::vector<std::string> out;
    for (const auto& probe : probes_) {
        const auto now = look(probe.device);
        if (!now)
            out.push_back("the policy has no device " + policy::quote(probe.device));
        else if (now->out <= probe.before.out)
            out.push_back("nothing of " + probe.device + " went into a tunnel");
        else if (now->in <= probe.before.in)
            out.push_back("nothing came back to " + probe.device);
    }
    if (probes_.empty())
        for (const auto& tunnel : tunnels_down)
            out.push_back("tunnel " + tunnel + " is down");
    return out;
}

} // namespace penstock::core
