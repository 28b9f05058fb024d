// How long each step of something took.
#pragma once

#include <chrono>
#include <utility>
#include <vector>

namespace penstock::core {

class StepTimes {
public:
    struct Step {
        const char* name;
        std::chrono::steady_clock::duration took;
    };

    // What began with the step before, or with the object, is over.
    void done(const char* step) {
        const auto now = std::chrono::steady_clock::now();
        steps_.push_back({step, now - std::exchange(since_, now)});
    }
    [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

private:
    std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
    std::vector<Step> steps_;
};

} // namespace penstock::core
