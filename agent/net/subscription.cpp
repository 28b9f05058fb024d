#include "agent/net/subscription.hpp"

#include <arpa/inet.h>
#include <cstddef>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <vector>

namespace penstock::net {
namespace {

constexpr int kReceiveBuffer = 4 * 1024 * 1024;
constexpr std::size_t kDatagram = 65536;
constexpr int kDatagramsPerDrain = 512; // the caller's loop must get its turn under a flood

} // namespace

Result<Fd> subscribe(int protocol, std::initializer_list<int> groups) {
    Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    if (!fd)
        return fail_errno("cannot open a netlink socket");
    // FORCE passes net.core.rmem_max with CAP_NET_ADMIN; without it the plain option takes what it gets.
    if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0)
        (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
        return fail_errno("cannot bind a netlink socket");
    for (const int group : groups)
        if (setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
            return fail_errno("cannot join netlink group " + std::to_string(group));
    return fd;
}

Status refuse_messages(const Fd& socket, std::initializer_list<std::uint16_t> types) {
    // Classic BPF reads big-endian; nlmsg_type is in the machine's order.
    std::vector<sock_filter> code = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(nlmsghdr, nlmsg_type))};
    auto left = static_cast<std::uint8_t>(types.size());
    for (const auto type : types) {
        code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(type), left, 0));
        left--;
    }
    code.push_back(BPF_STMT(BPF_RET | BPF_K, 0xffffffff));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
    const sock_fprog program{.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
    if (setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
        return fail_errno("cannot filter a netlink socket");
    return {};
}

Result<bool> drain_messages(int fd, const std::function<void(const nlmsghdr&)>& on_message) {
    std::vector<std::uint8_t> buffer(kDatagram);
    bool overrun = false;
    for (int i = 0; i < kDatagramsPerDrain; i++) {
        sockaddr_nl sender{};
        socklen_t sender_size = sizeof sender;
        const ssize_t size = recvfrom(fd, buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC,
                                      reinterpret_cast<sockaddr*>(&sender), &sender_size);
        if (size < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                break;
            if (errno == EINTR)
                continue;
            if (errno != ENOBUFS)
                return fail_errno("cannot read netlink notifications");
            overrun = true; // reported once by the kernel; what is still queued follows
            continue;
        }
        if (sender.nl_pid != 0) // only the kernel is believed
            continue;
        if (static_cast<std::size_t>(size) > buffer.size()) {
            overrun = true;
            continue;
        }
        int left = static_cast<int>(size);
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer.data()); nlmsg_ok(message, left);
             message = nlmsg_next(message, &left))
            on_message(*message);
    }
    return overrun;
}

} // namespace penstock::net
