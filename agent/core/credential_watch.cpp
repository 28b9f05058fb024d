#include "agent/core/credential_watch.hpp"

#include <sys/stat.h>
#include <utility>

namespace penstock::core {

std::vector<CredentialWatch::Stamp> CredentialWatch::look() const {
    auto paths = config_.ca;
    paths.push_back(config_.certificate);
    paths.push_back(config_.private_key);
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

bool CredentialWatch::changed() {
    const auto now = look();
    const bool still = std::exchange(seen_, now) == now;
    return still && now != read_;
}

void CredentialWatch::reading() { seen_ = read_ = look(); }

} // namespace penstock::core
