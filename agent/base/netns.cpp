#include "agent/base/netns.hpp"

#include <sys/stat.h>

namespace penstock {

Result<std::uint32_t> own_netns() {
    struct stat info{};
    if (stat("/proc/self/ns/net", &info) != 0)
        return fail_errno("cannot read /proc/self/ns/net");
    return static_cast<std::uint32_t>(info.st_ino);
}

} // namespace penstock
