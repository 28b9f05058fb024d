#include "agent/core/release.hpp"

#include "agent/core/guard.hpp"
#include "agent/core/ipsec.hpp"
#include "agent/core/machine.hpp"

#include <filesystem>

namespace penstock::core {
namespace {

Status take_away(const Config& config) {
    EventLog events;
    Repairs repairs(events);
    auto guard = Guard::make(config, events, repairs);
    if (!guard)
        return tl::unexpected(guard.error());
    if (auto ok = (*guard)->release(); !ok)
        return ok;
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
