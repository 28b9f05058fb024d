#include "agent/core/learnt_addresses.hpp"

#include <algorithm>

namespace penstock::core {

Result<bool> LearntAddresses::look(const MacAddress& device, const IpAddress& address) const {
    const auto hours = std::to_string(kHold.count()) + " hours";
    if (const auto holder = holder_.find(address); holder != holder_.end()) {
        if (holder->second == device)
            return true;
        return fail(holder->second.str() + " holds it, until it was not used for " + hours);
    }
    const auto held = held_.find(device);
    const auto same_family = [&](const Held& one) { return one.address.family == address.family; };
    if (held != held_.end() && std::ranges::count_if(held->second, same_family) >= std::ptrdiff_t{kMost})
        return fail("the device holds " + std::to_string(kMost) + " addresses of this family already; one is free " +
                    hours + " after its last use");
    return false;
}

Result<bool> LearntAddresses::holds(const MacAddress& device, const IpAddress& address) const {
    const std::scoped_lock lock(mutex_);
    return look(device, address);
}

Status LearntAddresses::claim(const MacAddress& device, const IpAddress& address, Time now) {
    const std::scoped_lock lock(mutex_);
    const auto held = look(device, address);
    if (!held)
        return tl::unexpected(held.error());
    if (!*held) {
        held_[device].push_back({address, now});
        holder_.emplace(address, device);
    }
    return {};
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

void LearntAddresses::keep(const std::function<bool(const MacAddress&, const IpAddress&)>& which) {
    const std::scoped_lock lock(mutex_);
    forget_if([&](const MacAddress& device, const Held& held) { return !which(device, held.address); });
}

// It may take its time to say what is in use: nobody waits for it.
bool LearntAddresses::expire(Time now, const std::function<bool(const IpAddress&)>& in_use) {
    std::map<IpAddress, bool> due;
    {
        const std::scoped_lock lock(mutex_);
        for (const auto& [device, held] : held_)
            for (const auto& one : held)
                if (now - one.since >= kHold)
                    due.emplace(one.address, false);
    }
    for (auto& [address, used] : due)
        used = in_use(address);
    const std::scoped_lock lock(mutex_);
    return forget_if([&](const MacAddress&, Held& held) {
        const auto found = due.find(held.address);
        if (found == due.end() || !found->second)
            return found != due.end();
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
