#include "agent/pull/pacing.hpp"

#include <algorithm>

namespace penstock::pull {
namespace {

using std::chrono::seconds;

constexpr seconds kShortest{5};
constexpr seconds kLongest{3600};
constexpr unsigned kDoublings = 16; // far beyond the longest
constexpr double kSpread = 0.15;

} // namespace

Pacing::Millis Pacing::spread(std::chrono::duration<double> around) const {
    return std::chrono::duration_cast<Millis>(around * (1 - kSpread + 2 * kSpread * random_()));
}

Pacing::Millis Pacing::first() const {
    return std::chrono::duration_cast<Millis>(std::chrono::duration<double>(kShortest) * random_());
}

Pacing::Millis Pacing::after_success() {
    failures_ = 0;
    return spread(interval_);
}

Pacing::Millis Pacing::after_failure(std::optional<seconds> asked) {
    const auto longest = std::min(interval_, kLongest);
    const auto wait = spread(std::min(kShortest * (1U << failures_), longest));
    failures_ = std::min(failures_ + 1, kDoublings);
    if (!asked || *asked <= seconds(0))
        return wait;
    const auto heeded = std::chrono::duration<double>(std::min(*asked, longest)) * (1 + kSpread * random_());
    return std::max(wait, std::chrono::duration_cast<Millis>(heeded));
}

} // namespace penstock::pull
