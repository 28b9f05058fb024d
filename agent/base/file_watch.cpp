#include "agent/base/file_watch.hpp"

#include <sys/stat.h>
#include <utility>

namespace penstock {

std::vector<FileWatch::Stamp> FileWatch::look() const {
    const auto paths = paths_();
    std::vector<Stamp> out;
    out.reserve(paths.size());
    for (const auto& path : paths) {
        struct stat info{};
        if (stat(path.c_str(), &info) != 0)
            info = {};
        out.push_back({.inode = info.st_ino,
                       .size = info.st_size,
                       .seconds = info.st_ctim.tv_sec,
                       .nanoseconds = info.st_ctim.tv_nsec});
    }
    return out;
}

bool FileWatch::changed() {
    const auto now = look();
    const bool still = std::exchange(seen_, now) == now;
    return still && now != read_;
}

void FileWatch::reading() { seen_ = read_ = look(); }

} // namespace penstock
