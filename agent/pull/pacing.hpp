// When to look again: never all gateways at once, and less and less often where it is in vain.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

namespace penstock::pull {

class Pacing {
public:
    using Millis = std::chrono::milliseconds;
    // random: from 0 to 1, without 1.
    Pacing(std::chrono::seconds interval, std::function<double()> random)
        : interval_(interval), random_(std::move(random)) {}

    // After the start: within five seconds.
    [[nodiscard]] Millis first() const;
    // The interval, 15 % more or less.
    Millis after_success();
    // From 5 s twice as long each time, up to the interval or an hour, 15 % more or less. asked: what the server wants
    // (Retry-After), heeded up to the same bound and never undercut.
    Millis after_failure(std::optional<std::chrono::seconds> asked = {});

private:
    [[nodiscard]] Millis spread(std::chrono::duration<double> around) const;

    std::chrono::seconds interval_;
    std::function<double()> random_;
    unsigned failures_ = 0; // one after the other
};

} // namespace penstock::pull
