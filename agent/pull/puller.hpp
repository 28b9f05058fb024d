// One look at the URL after the other. What is there goes to penstockd, which decides; what it has decided about is not
// handed in again.
#pragma once

#include "agent/core/bundle_config.hpp"
#include "agent/pull/download.hpp"
#include "agent/pull/penstockd.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace penstock::pull {

class Puller {
public:
    using Stop = Download::Stop;
    // settings: with a [bundle]; settings and limits outlive this.
    Puller(const core::PullSettings& settings, const Limits& limits, Stop stop)
        : config_(*settings.bundle), download_(config_, limits, stop), penstockd_(settings.socket, stop),
          stop_(std::move(stop)) {}

    struct Looked {
        std::string said; // in words
        bool well = true; // false: worth another try before the interval is over
        std::optional<std::chrono::seconds> retry_after = {};
    };
    Looked look();

private:
    Looked hand_in(const Body& body, const std::string& digest);
    Looked unchanged();
    Looked judge(const nlohmann::json& answer, const Body& body, const std::string& digest);
    Looked failed(const std::string& why, std::optional<std::chrono::seconds> retry_after = {});
    bool is_news(const std::string& said);

    const core::BundleConfig& config_;
    Download download_;
    Penstockd penstockd_;
    Stop stop_;
    // What penstockd has decided about, and what it may decide otherwise after: another start of it, another root.
    Validators known_;
    std::string digest_, under_;
    std::string judged_; // what it said to that
    std::string said_;   // last, in the log
};

} // namespace penstock::pull
