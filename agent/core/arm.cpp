#include "agent/core/arm.hpp"

#include "agent/core/guard.hpp"
#include "agent/core/machine.hpp"

namespace penstock::core {
namespace {

Status put_up(const Config& config) {
    if (auto ok = check_bpf(); !ok)
        return ok;
    if (auto ok = check_xfrm(); !ok)
        return ok;
    const auto privacy = Privacy::make(config);
    if (!privacy)
        return tl::unexpected(privacy.error());
    EventLog events(&*privacy);
    Repairs repairs(events);
    store::SealedFolder state(config.state, config.storage);
    auto guard = Guard::make(config, events, repairs, state);
    if (!guard)
        return tl::unexpected(guard.error());
    if (auto ok = (*guard)->set_esp(config.esp == EspMode::user); !ok)
        return ok;
    return (*guard)->arm();
}

} // namespace

Status arm(const Config& config) {
    if (auto ok = check_capabilities(Task::gate); !ok)
        return ok;
    auto ok = put_up(config);
    if (!ok)
        if (auto shut = shut_forwarding(config); !shut)
            return fail(ok.error().message() + "; and forwarding cannot be switched off: " + shut.error().message());
    return ok;
}

} // namespace penstock::core
