// The largest IP packet that a tunnel takes whole.
#pragma once

#include <sys/socket.h>

namespace penstock::core {

// Over a link that carries IP packets of `carrier` bytes to a peer of `family`, in ESP (RFC 4303) with an AEAD cipher
// (8 bytes of IV and 16 of ICV, RFC 4106) and in UDP (RFC 3948): NAT may come to stand in between at any time. 0 if
// none fits.
constexpr unsigned inner_mtu(unsigned carrier, int family) {
    constexpr unsigned kUdp = 8, kEsp = 8, kIv = 8, kIcv = 16, kTrailer = 2, kAlignment = 4;
    const unsigned outer = (family == AF_INET6 ? 40U : 20U) + kUdp + kEsp + kIv + kIcv;
    if (carrier < outer + kAlignment)
        return 0;
    return (carrier - outer) / kAlignment * kAlignment - kTrailer;
}

} // namespace penstock::core
