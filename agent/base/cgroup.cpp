#include "agent/base/cgroup.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sstream>

namespace penstock {

Result<std::filesystem::path> find_cgroup_mount() {
    std::ifstream mounts("/proc/self/mountinfo");
    std::string line;
    // proc(5): ... mount point is the fifth field; after " - " the type.
    while (std::getline(mounts, line)) {
        const auto type = line.find(" - ");
        if (type == std::string::npos || line.compare(type + 3, 8, "cgroup2 ") != 0)
            continue;
        std::istringstream fields(line);
        std::string point;
        for (int i = 0; i < 5; i++)
            fields >> point;
        return std::filesystem::path(point);
    }
    return fail_errno("no cgroup v2 file system is mounted", ENOENT);
}

Result<std::uint64_t> cgroup_id(const std::filesystem::path& mount, const std::string& path) {
    const auto whole = mount.string() + path;
    std::uint64_t id = 0;
    alignas(file_handle) char buffer[sizeof(file_handle) + sizeof id];
    auto* handle = reinterpret_cast<file_handle*>(buffer);
    handle->handle_bytes = sizeof id;
    int mount_id = 0;
    if (name_to_handle_at(AT_FDCWD, whole.c_str(), handle, &mount_id, 0) != 0)
        return fail_errno("cannot look up cgroup " + path);
    std::memcpy(&id, handle->f_handle, sizeof id);
    return id;
}

} // namespace penstock
