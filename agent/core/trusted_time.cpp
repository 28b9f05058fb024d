#include "agent/core/trusted_time.hpp"

#include "policy/bundle/verify.hpp"

#include <algorithm>

namespace penstock::core {
namespace {

constexpr const char* kTime = "time"; // in the ledger: seconds since 1970
constexpr std::chrono::minutes kBelieved{10}, kEvery{60}, kEveryWhileBehind{1};

} // namespace

policy::Time TrustedTime::built() { return policy::Time(std::chrono::seconds(PENSTOCK_BUILD_TIME)); }

TrustedTime::TrustedTime(store::SealedFolder& folder, Clock clock, Steady steady)
    : folder_(folder), clock_(std::move(clock)), steady_(std::move(steady)), kept_(built()), since_(steady_()),
      latest_{clock_(), since_} {}

Status TrustedTime::load() {
    const auto known = folder_.recall(kTime);
    if (!known)
        return tl::unexpected(known.error());
    const std::lock_guard lock(mutex_);
    if (known->is_number_unsigned())
        kept_ = std::max(kept_, policy::Time(std::chrono::seconds(known->get<std::int64_t>())));
    since_ = steady_();
    return {};
}

policy::Time TrustedTime::gone_on(const Look& from) const {
    return from.shown + std::chrono::floor<std::chrono::seconds>(steady_() - from.at);
}

// Of the last kept time.
policy::Time TrustedTime::floor() const { return gone_on({kept_, since_}); }

policy::Time TrustedTime::now() const {
    const std::lock_guard lock(mutex_);
    return std::max(clock_(), floor());
}

std::optional<policy::Time> TrustedTime::behind() const {
    const auto shown = clock_();
    const std::lock_guard lock(mutex_);
    return shown + policy::kClockSkew < floor() ? std::optional(shown) : std::nullopt;
}

std::optional<policy::Time> TrustedTime::look(policy::Time expires) {
    const auto shown = clock_();
    const std::lock_guard lock(mutex_);
    if (shown > gone_on(latest_) + policy::kClockSkew || shown + policy::kClockSkew < gone_on(latest_)) {
        latest_ = {shown, steady_()}; // it was set: now it has to go on from here
        earlier_.reset();
    } else if (steady_() - latest_.at >= kBelieved) {
        earlier_ = latest_;
        latest_ = {shown, steady_()};
    }
    // Behind, it is the floor that goes on, which no wrong clock has moved.
    const bool behind = shown < floor();
    if (!behind && !earlier_)
        return std::nullopt;
    const auto time = std::min(behind ? floor() : std::min(shown, gone_on(*earlier_)), expires);
    const auto enough = behind ? kEveryWhileBehind : kEvery;
    return time >= kept_ + enough || (time == expires && kept_ < expires) ? std::optional(time) : std::nullopt;
}

Status TrustedTime::keep(policy::Time time) {
    if (auto ok = folder_.keep(kTime, static_cast<std::uint64_t>(time.time_since_epoch().count())); !ok)
        return ok;
    const std::lock_guard lock(mutex_);
    since_ = steady_();
    kept_ = std::max(kept_, time);
    return {};
}

} // namespace penstock::core
