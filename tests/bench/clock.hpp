// What this thread has used of the CPU, and how long it took.
#pragma once

#include <cstdint>
#include <ctime>

namespace penstock::bench {

class Stopwatch {
public:
    [[nodiscard]] std::uint64_t cpu_ns() const { return now(CLOCK_THREAD_CPUTIME_ID) - cpu_; }
    [[nodiscard]] std::uint64_t wall_ns() const { return now(CLOCK_MONOTONIC) - wall_; }

private:
    static std::uint64_t now(clockid_t clock) {
        timespec at{};
        clock_gettime(clock, &at);
        return static_cast<std::uint64_t>(at.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(at.tv_nsec);
    }
    std::uint64_t cpu_ = now(CLOCK_THREAD_CPUTIME_ID), wall_ = now(CLOCK_MONOTONIC);
};

} // namespace penstock::bench
