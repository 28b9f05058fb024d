#include "agent/net/tun.hpp"

#include "agent/base/fd.hpp"
#include "agent/base/netns.hpp"

#include <cerrno>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace penstock::net {
namespace {

constexpr auto kMiscMajor = 10U, kTunMinor = 200U; // Documentation/admin-guide/devices.txt

// A number of ioctl() means something else to another device.
bool is_tun_device(int fd) {
    struct stat status{};
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(kMiscMajor, kTunMinor);
}

bool is_of_own_netns(int fd) {
    const Fd netns(ioctl(fd, TUNGETDEVNETNS));
    const auto own = own_netns();
    struct stat status{};
    return netns && own && fstat(netns.get(), &status) == 0 && status.st_ino == *own;
}

} // namespace

Result<Link> find_tun(int fd) {
    ifreq request{};
    if (!is_tun_device(fd) || ioctl(fd, TUNGETIFF, &request) != 0)
        return fail("the descriptor is no TUN", EBADF);
    if ((request.ifr_flags & IFF_TUN) == 0) // of IFF_NO_PI nothing is told: that bit means IFF_NOFILTER here
        return fail("it carries Ethernet", EBADF);
    if (!is_of_own_netns(fd))
        return fail("it is of another network namespace", EBADF);
    return find_link(request.ifr_name);
}

} // namespace penstock::net
