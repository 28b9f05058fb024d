#include "agent/net/socket.hpp"

#include "agent/net/message.hpp"

#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>
#include <new>
#include <utility>

namespace penstock::net {
namespace {

constexpr std::size_t kBufferSize = 65536; // the kernel fills a dump up to 32 KiB per datagram

// Extended ACK: the kernel's own words, if it has any (kernel 4.12).
std::string extended_ack(const nlmsghdr& message, std::size_t offset) {
    if (!(message.nlmsg_flags & NLM_F_ACK_TLVS) || message.nlmsg_len < NLMSG_HDRLEN + offset)
        return "";
    const auto* start = static_cast<const std::uint8_t*>(nlmsg_data(&message)) + offset;
    const auto length = static_cast<int>(message.nlmsg_len - NLMSG_HDRLEN - offset);
    return Attributes(reinterpret_cast<const nlattr*>(start), length).text(NLMSGERR_ATTR_MSG);
}

Error kernel_error(std::string_view what, int code, const std::string& words) {
    if (words.empty())
        return Error::from_errno(what, code);
    return Error(std::string(what) + ": " + strerror(code) + " (" + words + ")", code);
}

} // namespace

Socket::Socket(nl_sock* socket) : socket_(socket), buffer_(kBufferSize) {}

Socket::Socket(Socket&& other) noexcept
    : socket_(std::exchange(other.socket_, nullptr)), buffer_(std::move(other.buffer_)) {}

Socket::~Socket() {
    if (!buffer_.empty())
        explicit_bzero(buffer_.data(), buffer_.size());
    if (socket_ != nullptr)
        nl_socket_free(socket_);
}

Result<Socket> Socket::make(int protocol) {
    nl_sock* raw = nl_socket_alloc();
    if (raw == nullptr)
        throw std::bad_alloc();
    Socket socket(raw);
    // An ACK behind an answer (ALLOCSPI) would be taken for the answer of the next request; ACKs are asked for one by
    // one.
    nl_socket_disable_auto_ack(raw);
    errno = 0;
    if (nl_connect(raw, protocol) < 0)
        return fail_errno("cannot open a netlink socket", errno != 0 ? errno : EIO);
    const int fd = nl_socket_get_fd(raw);
    const int one = 1;
    const timeval timeout{1, 0};
    // CAP_ACK: an error does not send the request (and its key) back. Strict checks let the kernel filter dumps (4.20).
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one) != 0)
        return fail_errno("cannot set up a netlink socket");
    return socket;
}

Status Socket::request(Message& message, std::string_view what) {
    return exchange(message, NLM_F_ACK, what, [](const nlmsghdr&) {});
}

Status Socket::query(Message& message, std::string_view what, const OnMessage& on_message) {
    return exchange(message, 0, what, on_message);
}

Status Socket::dump(Message& message, std::string_view what, const OnMessage& on_message) {
    return exchange(message, NLM_F_DUMP, what, on_message);
}

Status Socket::exchange(Message& message, std::uint16_t flags, std::string_view what, const OnMessage& on_message) {
    if (message.too_long())
        return fail(std::string(what) + ": the request does not fit into one netlink message", EMSGSIZE);
    message.raw().nlmsg_flags |= flags | NLM_F_REQUEST;
    message.raw().nlmsg_seq = NL_AUTO_SEQ;
    message.raw().nlmsg_pid = NL_AUTO_PORT;
    errno = 0;
    if (nl_send_auto(socket_, message.get()) < 0)
        return fail_errno(what, errno != 0 ? errno : EIO);
    const bool dump = (flags & NLM_F_DUMP) == NLM_F_DUMP;
    bool interrupted = false;
    for (;;) {
        auto done = receive(message.raw().nlmsg_seq, dump, what, on_message, interrupted);
        if (!done)
            return tl::unexpected(std::move(done.error()));
        if (*done)
            break;
    }
    if (interrupted)
        return fail(std::string(what) + ": the table kept changing while it was read", EINTR);
    return {};
}

// One datagram. True when the answer is complete.
Result<bool> Socket::receive(std::uint32_t sequence, bool dump, std::string_view what, const OnMessage& on_message,
                             bool& interrupted) {
    sockaddr_nl sender{};
    socklen_t sender_size = sizeof sender;
    ssize_t size;
    do
        size = recvfrom(nl_socket_get_fd(socket_), buffer_.data(), buffer_.size(), MSG_TRUNC,
                        reinterpret_cast<sockaddr*>(&sender), &sender_size);
    while (size < 0 && errno == EINTR);
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return fail(std::string(what) + ": no answer from the kernel within a second", ETIMEDOUT);
    if (size < 0)
        return fail_errno(what);
    if (static_cast<std::size_t>(size) > buffer_.size())
        return fail(std::string(what) + ": the kernel's answer is too long", EMSGSIZE);
    if (sender.nl_pid != 0) // only the kernel is believed
        return false;
    int left = static_cast<int>(size);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left);
         message = nlmsg_next(message, &left)) {
        if (message->nlmsg_seq != sequence)
            continue;
        interrupted |= (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (message->nlmsg_type == NLMSG_ERROR) {
            const auto error = header_of<nlmsgerr>(*message);
            if (error && error->error == 0)
                return true;
            std::size_t offset = sizeof(nlmsgerr);
            if (error && !(message->nlmsg_flags & NLM_F_CAPPED))
                offset += NLMSG_ALIGN(error->msg.nlmsg_len) - NLMSG_HDRLEN;
            return tl::unexpected(kernel_error(what, error ? -error->error : EBADMSG, extended_ack(*message, offset)));
        }
        if (message->nlmsg_type == NLMSG_DONE) {
            const auto status = header_of<int>(*message);
            if (status && *status < 0)
                return tl::unexpected(kernel_error(what, -*status, extended_ack(*message, sizeof(int))));
            return true;
        }
        if (message->nlmsg_type < NLMSG_MIN_TYPE)
            continue;
        on_message(*message);
        if (!dump)
            return true;
    }
    return false;
}

Status transact(int protocol, Message& message, std::string_view what) {
    auto socket = Socket::make(protocol);
    if (!socket)
        return fail(what, std::move(socket.error()));
    return socket->request(message, what);
}

} // namespace penstock::net
