// What is at a URL, by HTTPS and libcurl, into a file without a name. Nothing is trusted because of TLS: what arrives
// is for penstockd to verify.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"
#include "agent/core/bundle_config.hpp"
#include "agent/pull/header.hpp"
#include "policy/limits.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace penstock::pull {

// What a server may cost at most.
struct Limits {
    std::uint64_t bytes = policy::kMaxEnvelopeBytes.value;
    std::size_t header_bytes = 64U << 10; // of all answers to one request
    unsigned redirects = 3;
    std::chrono::seconds connect{30};
    unsigned slowest = 256;        // bytes a second,
    std::chrono::seconds slow{60}; // over so long
    std::chrono::hours transfer{4};
    std::filesystem::path folder = "/var/tmp"; // on a disk, which a bundle of 128 MiB does not fill as it would memory
};

struct Body {
    Fd file;
    std::uint64_t size = 0;
    Validators validators;
};

struct Trouble {
    std::string why;
    std::optional<std::chrono::seconds> retry_after = {};
};

class Download {
public:
    using Stop = std::function<bool()>;
    // config, limits: outlive this. stop: asked at least once a second; true ends a transfer.
    Download(const core::BundleConfig& config, const Limits& limits, Stop stop)
        : config_(config), limits_(limits), stop_(std::move(stop)) {}

    using Got = tl::expected<std::optional<Body>, Trouble>;
    // All of it; none: it is what known names (304). What broke off before is continued if the server can, and if it is
    // the same still (strong ETag, If-Range).
    Got get(const Validators& known);

private:
    Got finish(int code, const struct Transfer& transfer, bool conditional);

    const core::BundleConfig& config_;
    const Limits& limits_;
    Stop stop_;
    Body begun_; // what there is of a transfer that broke off
};

} // namespace penstock::pull
