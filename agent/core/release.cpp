#include "agent/core/release.hpp"

#include "agent/base/file.hpp"
#include "agent/base/utc.hpp"
#include "agent/core/guard.hpp"
#include "agent/core/ipsec.hpp"
#include "agent/core/machine.hpp"
#include "agent/core/state.hpp"

#include <filesystem>
#include <unistd.h>

namespace penstock::core {
namespace {

// While the guard is ours, so that nobody else writes. Without the key, which systemd may have for penstockd alone, in
// clear, for the next start to audit. The release does not depend on it.
void audit_release(store::SealedFolder& state, const Config& config) {
    const nlohmann::json record = {
        {"event", kReleased}, {"time", utc_now()}, {"uid", getuid()}, {"by", "penstockd guard release"}};
    auto kept = store::AuditLog(state, config.audit).append(record);
    if (!kept)
        kept = append_to_file(state.path(kUnsealedReleases), record.dump() + "\n");
    if (!kept)
        log::write(log::Level::warning, "audit_problem", {{"why", kept.error().message()}});
}

Status take_away(const Config& config) {
    const auto privacy = Privacy::make(config);
    if (!privacy)
        return tl::unexpected(privacy.error());
    EventLog events(&*privacy);
    Repairs repairs(events);
    store::SealedFolder state(config.state, config.storage);
    auto guard = Guard::make(config, events, repairs, state);
    if (!guard)
        return tl::unexpected(guard.error());
    if (auto ok = (*guard)->release(); !ok)
        return ok;
    audit_release(state, config);
    return Ipsec(config, (*guard)->marks(), events, (*guard)->gate(), [] {}).adopt();
}

} // namespace

Status release(const Config& config) {
    if (auto ok = check_capabilities(Task::gate); !ok)
        return ok;
    Config without_tunnels = config; // each SA and policy of ours then belongs to no tunnel, and goes
    without_tunnels.tunnels.clear();
    if (config.lan.empty()) { // a configuration that is lost: any interface may have been the LAN
        const auto view = NetworkView::read();
        if (!view)
            return tl::unexpected(view.error());
        for (const auto& link : view->links)
            without_tunnels.lan.push_back(link.name);
    }
    if (auto ok = take_away(without_tunnels); !ok)
        return ok;
    std::error_code error;
    std::filesystem::remove_all(config.bpffs, error);
    if (error)
        return fail_errno("cannot remove " + config.bpffs.string(), error.value());
    return {};
}

} // namespace penstock::core
