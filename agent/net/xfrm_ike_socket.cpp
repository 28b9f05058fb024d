// Options of the IKE socket that need privileges: past the policies, and marked.
#include "agent/net/xfrm_codec.hpp"

#include <sys/socket.h>

namespace penstock::net {
namespace {

constexpr std::string_view kWhat = "refused a socket of the IKE process";

Status expect(int fd, int option, int wanted, const char* problem) {
    int value = -1;
    socklen_t size = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0)
        return fail_errno(kWhat); // ENOTSOCK: not even a socket
    if (value != wanted)
        return fail(std::string(kWhat) + ": " + problem, EPROTOTYPE);
    return {};
}

} // namespace

Status apply_ike_socket_options(int fd, int family, std::uint32_t mark) {
    if (family != AF_INET && family != AF_INET6)
        return fail(std::string(kWhat) + ": the family is neither IPv4 nor IPv6", EAFNOSUPPORT);
    if (auto ok = expect(fd, SO_DOMAIN, family, "it is of another address family"); !ok)
        return ok;
    if (auto ok = expect(fd, SO_TYPE, SOCK_DGRAM, "it is not a datagram socket"); !ok)
        return ok;
    if (auto ok = expect(fd, SO_PROTOCOL, IPPROTO_UDP, "it is not a UDP socket"); !ok)
        return ok;
    const int level = family == AF_INET ? static_cast<int>(IPPROTO_IP) : static_cast<int>(IPPROTO_IPV6);
    const int option = family == AF_INET ? IP_XFRM_POLICY : IPV6_XFRM_POLICY;
    for (const auto direction : {XFRM_POLICY_IN, XFRM_POLICY_OUT}) {
        xfrm_userpolicy_info policy{};
        policy.sel.family = static_cast<std::uint16_t>(family);
        policy.dir = static_cast<std::uint8_t>(direction);
        policy.action = XFRM_POLICY_ALLOW;
        if (setsockopt(fd, level, option, &policy, sizeof policy) != 0)
            return fail_errno("cannot let the IKE socket past the IPsec policies");
    }
    if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
        return fail_errno("cannot mark the IKE socket");
    return {};
}

} // namespace penstock::net
