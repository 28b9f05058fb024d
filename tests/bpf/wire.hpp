// The end of a wire: frames as they are, in and out.
#pragma once

#include "agent/base/fd.hpp"
#include "tests/bpf/kernel.hpp"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace penstock::test {

// A raw socket on one interface.
class Wire {
public:
    explicit Wire(const std::string& interface, std::uint32_t mark = 0)
        : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(3 /* ETH_P_ALL */))) {
        sockaddr_ll where{};
        where.sll_family = AF_PACKET;
        where.sll_protocol = htons(3);
        where.sll_ifindex = ifindex_of(interface);
        BOOST_REQUIRE(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0);
        const int buffer = 8 << 20;
        BOOST_REQUIRE(setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) == 0);
        BOOST_REQUIRE(setsockopt(fd_.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
    }
    // False: the kernel dropped it on the way out.
    bool send(const Bytes& frame) const { return ::send(fd_.get(), frame.data(), frame.size(), 0) >= 0; } // NOLINT
    // How many frames like this one arrived, until none does for 100 ms.
    [[nodiscard]] int received(const Bytes& frame) const {
        int count = 0;
        pollfd ready{.fd = fd_.get(), .events = POLLIN, .revents = 0};
        while (poll(&ready, 1, 100) == 1) {
            Bytes got(2048);
            const auto size = recv(fd_.get(), got.data(), got.size(), 0);
            got.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
            count += got == frame ? 1 : 0;
        }
        return count;
    }

private:
    Fd fd_;
};

} // namespace penstock::test
