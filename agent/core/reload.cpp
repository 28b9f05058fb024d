// SIGHUP, and certificates renewed on disk: what can change while the agent runs, and what is said instead.
#include "agent/core/agent.hpp"

namespace penstock::core {
namespace {

// Keys whose values differ, as a person writes them.
std::string differences(const Config& before, const Config& after) {
    std::string out;
    const auto compare = [&](const char* name, const auto& a, const auto& b) {
        if (!(a == b))
            out += (out.empty() ? "" : ", ") + std::string(name);
    };
    compare("[gateway] name", before.gateway, after.gateway);
    compare("[lan] interfaces", before.lan, after.lan);
    compare("[uplink] interfaces", before.uplink, after.uplink);
    compare("[uplink] pppoe", before.pppoe, after.pppoe);
    compare("[uplink] host_egress", before.host_egress_open, after.host_egress_open);
    compare("[[essential]]", before.essentials, after.essentials);
    compare("[api]", before.api, after.api);
    compare("[bundle]", before.bundle, after.bundle);
    compare("[ike] certificate", before.certificate, after.certificate);
    compare("[ike] private_key", before.private_key, after.private_key);
    compare("[ike] ca", before.ca, after.ca);
    compare("[ike] user", before.ike_user, after.ike_user);
    compare("[ike] esp", before.esp, after.esp);
    compare("[[tunnel]]", before.tunnels, after.tunnels);
    compare("[policy] root", before.root, after.root);
    compare("[policy] on_expiry", before.lock_on_expiry, after.lock_on_expiry);
    compare("[policy] devices", before.device_capacity, after.device_capacity);
    compare("[policy] flows", before.flows_per_device, after.flows_per_device);
    compare("[storage] key", before.storage.file, after.storage.file);
    compare("[storage] previous_keys", before.storage.previous, after.storage.previous);
    compare("[storage] audit_days", before.audit.keep, after.audit.keep);
    compare("[storage] audit_mib", before.audit.total_bytes, after.audit.total_bytes);
    compare("[privacy] identities", before.full_identities, after.full_identities);
    compare("[privacy] event_hours", before.keep_events, after.keep_events);
    compare("[paths] state", before.state, after.state);
    compare("[paths] run", before.run, after.run);
    compare("[paths] bpffs", before.bpffs, after.bpffs);
    compare("[paths] libexec", before.libexec, after.libexec);
    compare("[mark] mask", before.mark_mask, after.mark_mask);
    compare("[routing] table", before.table, after.table);
    compare("[routing] rule_priority", before.rule_priority, after.rule_priority);
    return out;
}

} // namespace

void Agent::reload() {
    const auto fresh = Config::load(config_.file);
    if (!fresh)
        return refuse_reload(fresh.error().message());
    if (const auto changed = differences(config_, *fresh); !changed.empty())
        events_.add(log::Level::warning, "reload_needs_restart",
                    {{"changed", changed}, {"mend", "systemctl restart penstockd"}});
    renew_credentials();
}

void Agent::refuse_reload(const std::string& why) {
    events_.add(log::Level::error, "reload_refused", {{"why", why}, {"effect", "nothing has changed"}});
}

void Agent::renew_credentials() {
    if (auto ok = ike_->reload(); !ok)
        return refuse_reload(ok.error().message());
    events_.add(log::Level::info, "reloaded", {{"what", "certificate, private key and CAs"}});
}

} // namespace penstock::core
