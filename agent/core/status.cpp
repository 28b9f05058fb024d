// The agent's answers about itself: `status`, `tunnel list`, `devices`.
#include "agent/base/netns.hpp"
#include "agent/base/utc.hpp"
#include "agent/core/agent.hpp"

#include <net/if.h>
#include <unistd.h>

namespace penstock::core {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t seconds(Clock::duration duration) {
    return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
}

std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

} // namespace

nlohmann::json Agent::guard_status() const {
    nlohmann::json interfaces = nlohmann::json::array();
    for (const auto& one : guard_->interfaces()) {
        nlohmann::json shown = {{"name", one.name},
                                {"role", one.role},
                                {"guarded", one.guarded},
                                {"carries", one.carries},
                                {"present", if_nametoindex(one.name.c_str()) != 0}};
        if (!one.early_drop.empty())
            shown["early_drop"] = one.early_drop;
        interfaces.push_back(std::move(shown));
    }
    nlohmann::json repaired = nlohmann::json::object();
    for (std::size_t i = 0; i < static_cast<std::size_t>(Layer::count); i++)
        if (const auto layer = static_cast<Layer>(i); repairs_.count(layer) != 0)
            repaired[layer_name(layer)] = repairs_.count(layer);
    const char* state = released_ ? "released" : guard_->closed() ? "closed" : "problem";
    nlohmann::json essentials = nlohmann::json::array();
    for (const auto& one : guard_->essentials())
        essentials.push_back({{"name", one.name}, {"owners", one.owners}, {"problem", one.problem}});
    nlohmann::json out = {{"state", state},
                          {"essentials", essentials},
                          {"hooks", guard_->mechanism()},
                          {"interfaces", interfaces},
                          {"witness", witness_status()},
                          {"generation", guard_->policies().generation()},
                          {"repairs", repairs_.total()},
                          {"repaired", repaired},
                          {"fights", repairs_.fights()}};
    if (!released_ && !guard_->closed())
        out["problem"] = guard_->problem();
    return out;
}

// Of what keeps a tunnel down, or IKE while its SAs go on, what is nearest to the cause: our own files, then our dates,
// then what the peer said.
std::string Agent::trouble(const TunnelState& tunnel) const {
    if (!ike_->trouble().empty())
        return ike_->trouble();
    const auto dates = ike_->date_problems();
    return dates.empty() ? tunnel.trouble : dates.front();
}

nlohmann::json Agent::witness_status() const {
    const auto& witness = guard_->witness();
    if (!witness.absent().empty())
        return witness.latched()
                   ? nlohmann::json{{"state", "latched"}, {"why", witness.absent()}, {"first", guard_->sighting()}}
                   : nlohmann::json{{"state", "absent"}, {"why", witness.absent()}};
    if (!guard_->witness_problem().empty())
        return {{"state", "absent"}, {"why", guard_->witness_problem()}};
    const auto counts = witness.counts();
    nlohmann::json out = {{"state", witness.latched()    ? "latched"
                                    : witness.watching() ? "watching"
                                                         : "not yet"},
                          {"esp", counts.esp},
                          {"ike", counts.ike},
                          {"host", counts.host},
                          {"clear", counts.clear}};
    if (witness.latched())
        out["first"] = guard_->sighting();
    return out;
}

nlohmann::json Agent::tunnels() const {
    nlohmann::json out = nlohmann::json::array();
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++) {
        const auto& config = config_.tunnels[i];
        const auto& ike = ike_->tunnels()[i];
        const bool up = ipsec_->tunnel_up(i);
        nlohmann::json one = {{"name", config.name},
                              {"state", up                        ? "up"
                                        : ike.ike == "connecting" ? "connecting"
                                                                  : "down"},
                              {"ike", ike.ike},
                              {"peer", config.peer.str()},
                              {"esp", ipsec_->user_esp() ? "user" : "kernel"},
                              {"taken_down", ike.taken_down}};
        // The newest of each direction is what carries traffic.
        for (const auto& sa : ipsec_->sas())
            if (sa.tunnel == i && !sa.retiring) {
                one[sa.inbound ? "spi_in" : "spi_out"] = spi_text(sa.spi);
                one["cipher"] = ike.cipher.empty() ? sa.cipher : ike.cipher;
                one["age_s"] = seconds(Clock::now() - sa.since);
            }
        if (up && ike.rekey_at)
            one["rekey_in_s"] = std::max<std::int64_t>(0, seconds(*ike.rekey_at - Clock::now()));
        if (const auto why = trouble(ike); (!up || ike.ike != "up") && !why.empty())
            one["trouble"] = why;
        out.push_back(std::move(one));
    }
    return out;
}

std::optional<PushWatch::Traffic> Agent::traffic(const std::string& device) const {
    const auto* policy = policies_->policy();
    const auto* found = policy != nullptr ? policy->find_device(device) : nullptr;
    if (found == nullptr)
        return std::nullopt;
    const auto index = static_cast<std::size_t>(found - policy->devices.data());
    const auto counters = guard_->counters().device(policies_->device(index).slot);
    return PushWatch::Traffic{.out = counters.out_packets, .in = counters.in_packets};
}

// What keeps a push from being found well.
std::vector<std::string> Agent::push_misses() const {
    std::vector<std::string> down;
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++)
        if (!ipsec_->tunnel_up(i) && !ike_->tunnels()[i].taken_down)
            down.push_back(config_.tunnels[i].name);
    return push_watch_->missing([this](const std::string& device) { return traffic(device); }, down);
}

nlohmann::json Agent::policy_status() const {
    const auto* policy = policies_->policy();
    if (policy == nullptr)
        return nullptr;
    nlohmann::json out = {{"fleet", policy->fleet},
                          {"version", policy->version},
                          {"expires", policy::format_time(policy->expires)},
                          {"expired", policies_->expired()},
                          {"locked", policies_->locked()},
                          {"digest", policies_->digest()}};
    if (const auto* push = policies_->pending(); push != nullptr) {
        out["pending"] = {{"until", policy::format_time(push->until)}, {"before", push->before.version}};
        if (push_watch_ && push_watch_->is_about(*push))
            out["pending"]["missing"] = push_misses();
    }
    if (const auto& back = policies_->went_back())
        out["reverted_from"] = {{"version", back->from.version}, {"why", back->why}};
    return out;
}

nlohmann::json Agent::root_status() const {
    const auto root = policies_->root();
    if (!root)
        return {{"trouble", root.error().message()}};
    return {{"version", root->version},
            {"expires", policy::format_time(root->expires)},
            {"expired", policies_->time().now() >= root->expires}};
}

nlohmann::json Agent::state_status() const {
    const auto& keys = state_.keys();
    nlohmann::json out = {{"trouble", state_problem_}, {"audit_trouble", audit_->trouble()}};
    if (keys)
        out["key"] = {{"id", store::hex(keys->current().id)}, {"source", keys->current().source}};
    return out;
}

nlohmann::json Agent::devices() const {
    nlohmann::json out = nlohmann::json::array();
    const auto now = monotonic_ns();
    for (std::size_t i = 0; i < policies_->device_count(); i++) {
        const auto device = policies_->device(i);
        const auto counters = guard_->counters().device(device.slot);
        nlohmann::json one = {{"name", device.name},
                              {"mac", device.mac},
                              {"addresses", device.addresses},
                              {"group", device.group},
                              {"out_packets", counters.out_packets},
                              {"out_bytes", counters.out_bytes},
                              {"in_packets", counters.in_packets},
                              {"in_bytes", counters.in_bytes},
                              {"dropped", counters.dropped},
                              {"evicted_flows", counters.evicted_flows},
                              {"seen_s_ago", nullptr}};
        if (counters.last_seen_ns != 0)
            one["seen_s_ago"] = now > counters.last_seen_ns ? (now - counters.last_seen_ns) / 1'000'000'000 : 0;
        out.push_back(std::move(one));
    }
    return out;
}

nlohmann::json Agent::status() const {
    nlohmann::json drops = nlohmann::json::object(), reasons = nlohmann::json::object();
    for (const auto& drop : guard_->counters().drops())
        if (drop.count != 0) {
            drops[drop.name] = drop.count;
            reasons[drop.name] = drop.description;
        }
    return {{"ok", true},
            {"gateway", config_.gateway},
            {"version", PENSTOCK_VERSION},
            {"time", utc_now()},
            {"time_at_least", policies_->time().behind() ? nlohmann::json(policy::format_time(policies_->time().now()))
                                                         : nlohmann::json()},
            {"uptime_s", seconds(Clock::now() - started_)},
            {"pid", getpid()},
            {"netns", own_netns().value_or(0)},
            {"gate", guard_status()},
            {"esp", ipsec_->user_esp() ? "user" : "kernel"},
            {"ike", {{"pid", ike_->pid()}, {"strongswan", ike_->version()}, {"trouble", ike_->trouble()}}},
            {"tunnels", tunnels()},
            {"policy", policy_status()},
            {"root", root_status()},
            {"state", state_status()},
            {"devices", policies_->device_count()},
            {"drops", drops},
            {"drop_reasons", reasons}};
}

} // namespace penstock::core
