// What the listener shows of itself and what it believes: TLS 1.3 only, with a client's certificate of one of the CAs
// that no CRL lists. Nothing is resumed: every connection is verified anew.
#pragma once

#include "agent/core/api_config.hpp"

#include <boost/asio/ssl/context.hpp>

#include <ctime>
#include <memory>
#include <vector>

namespace penstock::api {

// As the files were. A connection keeps the one that it began with.
Result<std::shared_ptr<boost::asio::ssl::context>> load_tls(const core::ApiConfig& config);

// Notices that certificate, key, CAs or CRLs on the disk are other files than those that were read.
class FileWatch {
public:
    explicit FileWatch(const core::ApiConfig& config) : config_(config) {}
    // Call it now and then. True once a change, and not before the files stood still from one call to the next.
    bool changed();
    // What is there now is about to be read.
    void reading();

private:
    struct Stamp {
        std::uint64_t inode = 0;
        std::int64_t size = 0;
        std::int64_t seconds = 0, nanoseconds = 0;
        bool operator==(const Stamp&) const = default;
    };
    [[nodiscard]] std::vector<Stamp> look() const;

    const core::ApiConfig& config_;
    std::vector<Stamp> read_, seen_;
};

} // namespace penstock::api
