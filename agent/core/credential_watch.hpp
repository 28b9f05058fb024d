// Notices that certificate, private key or a CA on the disk is another file than the one that was read.
#pragma once

#include "agent/core/config.hpp"

#include <cstdint>
#include <ctime>
#include <vector>

namespace penstock::core {

class CredentialWatch {
public:
    explicit CredentialWatch(const Config& config) : config_(config) {}

    // Call it now and then. True once a change, and not before the files stood still from one call to the next.
    bool changed();
    // What is there now is about to be read.
    void reading();

private:
    // What a file that is written anew or put in its place cannot share with the old one.
    struct Stamp {
        std::uint64_t inode = 0;
        std::int64_t size = 0;
        std::int64_t seconds = 0, nanoseconds = 0; // of the last change, of content or permissions
        bool operator==(const Stamp&) const = default;
    };
    [[nodiscard]] std::vector<Stamp> look() const;

    const Config& config_;
    std::vector<Stamp> read_, seen_;
};

} // namespace penstock::core
