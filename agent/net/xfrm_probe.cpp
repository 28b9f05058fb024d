// Finds out whether the kernel has ESP, by trying.
#include "agent/net/xfrm_codec.hpp"

#include <sys/random.h>

namespace penstock::net {

Result<bool> kernel_has_esp(int family) {
    constexpr std::string_view kWhat = "cannot find out whether the kernel has ESP";
    constexpr std::size_t kKeyBytes = 36; // AES-256 and the salt
    SecurityAssociation sa;
    auto loopback = IpAddress::parse(family == AF_INET6 ? "::1" : "127.0.0.1");
    if (!loopback)
        return fail(kWhat, std::move(loopback.error()));
    sa.source = sa.destination = *loopback;
    sa.inbound = true;
    sa.replay_window = 32;
    sa.lifetime.hard_seconds = 2; // should this process die before it deletes the SA
    sa.key = SecretBytes(kKeyBytes);
    if (getrandom(&sa.spi, sizeof sa.spi, 0) != sizeof sa.spi ||
        getrandom(sa.key.data(), kKeyBytes, 0) != static_cast<ssize_t>(kKeyBytes))
        return fail_errno(kWhat);
    sa.spi |= 0x1000; // never a reserved one
    if (auto added = add_sa(sa); !added) {
        switch (added.error().code()) {
        case EPROTONOSUPPORT: // no ESP, or no XFRM at all
        case EAFNOSUPPORT:    // not for this family
        case ENOSYS:          // ESP, but not this cipher
        case ENOENT:
            return false;
        default:
            return fail(kWhat, std::move(added.error()));
        }
    }
    if (auto deleted = delete_sa({sa.destination, sa.spi}); !deleted && deleted.error().code() != ESRCH)
        return fail(kWhat, std::move(deleted.error()));
    return true;
}

Result<bool> kernel_has_esp() { return kernel_has_esp(AF_INET); }

} // namespace penstock::net
