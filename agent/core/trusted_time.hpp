// The time by which expiry is judged: the clock's, but never before what it has shown before, nor before this program
// was built. A gateway without a battery begins in 1970, where nothing has expired yet.
//
// What the clock shows is kept in the ledger once it has gone on from there for ten minutes by the clock that nobody
// sets: a clock that was wrong for less leaves no trace. A time after the expiry of the policy in force is kept as that
// expiry: the policy stays dead, and the next one, which is valid for longer, is not born dead.
#pragma once

#include "agent/store/sealed_folder.hpp"
#include "policy/text.hpp"

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>

namespace penstock::core {

class TrustedTime {
public:
    using Clock = std::function<policy::Time()>;
    using Steady = std::function<std::chrono::steady_clock::time_point()>;

    explicit TrustedTime(store::SealedFolder& folder, Clock clock = policy::now,
                         Steady steady = std::chrono::steady_clock::now);
    static policy::Time built();

    // Takes what the ledger knows.
    Status load();
    // From any thread.
    [[nodiscard]] policy::Time now() const;
    // What the clock shows, if that is less than now() by more than clocks differ.
    [[nodiscard]] std::optional<policy::Time> behind() const;
    // Looks at the clock; call it about once a second. What should be kept by now, if anything. expires: of the policy
    // in force.
    std::optional<policy::Time> look(policy::Time expires);
    // Writes to the disk.
    Status keep(policy::Time time);

private:
    struct Look {
        policy::Time shown;
        std::chrono::steady_clock::time_point at;
    };
    [[nodiscard]] policy::Time floor() const;
    [[nodiscard]] policy::Time gone_on(const Look& from) const;

    store::SealedFolder& folder_;
    Clock clock_;
    Steady steady_;
    mutable std::mutex mutex_; // of what follows
    policy::Time kept_;
    std::chrono::steady_clock::time_point since_; // when kept_ was the time, or later
    std::optional<Look> earlier_;                 // ten minutes old or more
    Look latest_;
};

} // namespace penstock::core
