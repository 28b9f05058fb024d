// Notices that files on the disk are others than those that were read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <utility>
#include <vector>

namespace penstock {

class FileWatch {
public:
    using Paths = std::vector<std::filesystem::path>;
    // paths: asked for each time, since a configuration may come to name others.
    explicit FileWatch(std::function<Paths()> paths) : paths_(std::move(paths)) {}

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

    std::function<Paths()> paths_;
    std::vector<Stamp> read_, seen_;
};

} // namespace penstock
