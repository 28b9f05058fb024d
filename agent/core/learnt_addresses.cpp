#include "agent/core/learnt_addresses.hpp"

#include <algorithm>

namespace penstock::core {

Result<bool> LearntAddresses::claim(const MacAddress& device, const IpAddress& address, Time now) {
    const std::scoped_lock lock(mutex_);
    if (const auto holder = holder_.find(address); holder != holder_.end()) {
        if (holder->second == device)
            return false;
        return fail(holder->second.str() + " holds it, until it was not used for " + std::to_string(kHold.count()) +
                    " hours");
    }
    auto& held = held_[device];
    if (std::ranges::count(held, address.family, [](const Held& h) { return h.address.family; }) >=
        static_cast<std::ptrdiff_t>(kMost))
        return fail("the device holds " + std::to_string(kMost) + " addresses of this family already; one is free " +
                    std::to_string(kHold.count()) + " hours after its last use");
    held.push_back({address, now});
    holder_.emplace(address, device);
    return true;
}

template <class Goes> bool LearntAddresses::forget_if(Goes goes) {
    std::size_t gone = 0;
    for (auto& [device, held] : held_)
        gone += std::erase_if(held, [&](Held& one) {
            if (!goes(device, one))
                return false;
            holder_.erase(one.address);
            return true;
        });
    std::erase_if(held_, [](const auto& entry) { return entry.second.empty(); });
    return gone != 0;
}

void LearntAddresses::keep(const std::function<bool(const MacAddress&)>& learns) {
    const std::scoped_lock lock(mutex_);
    forget_if([&](const MacAddress& device, const Held&) { return !learns(device); });
}

bool LearntAddresses::expire(Time now, const std::function<bool(const IpAddress&)>& in_use) {
    const std::scoped_lock lock(mutex_);
    return forget_if([&](const MacAddress&, Held& held) {
        if (now - held.since < kHold)
            return false;
        if (!in_use(held.address))
            return true;
        held.since = now - kHold / 2; // asked again in a while, not every minute
        return false;
    });
}

void LearntAddresses::forget_all() {
    const std::scoped_lock lock(mutex_);
    held_.clear();
    holder_.clear();
}

std::vector<IpAddress> LearntAddresses::of(const MacAddress& device) const {
    const std::scoped_lock lock(mutex_);
    std::vector<IpAddress> out;
    if (const auto found = held_.find(device); found != held_.end())
        std::ranges::transform(found->second, std::back_inserter(out), &Held::address);
    return out;
}

bool LearntAddresses::empty() const {
    const std::scoped_lock lock(mutex_);
    return holder_.empty();
}

} // namespace penstock::core
