// Control groups (cgroup v2) as names of services: a path becomes the 64-bit id that the kernel knows its sockets by.
#pragma once

#include "agent/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace penstock {

// Where the v2 hierarchy is mounted in this mount namespace (also beside v1 ones); ENOENT if it is not.
Result<std::filesystem::path> find_cgroup_mount();

// The id of "/system.slice/ssh.service" below that mount; ENOENT if no such cgroup is there now. systemd makes a
// service's cgroup anew, with another id, whenever the service starts.
Result<std::uint64_t> cgroup_id(const std::filesystem::path& mount, const std::string& path);

} // namespace penstock
