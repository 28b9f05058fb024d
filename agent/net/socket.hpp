// A netlink socket for requests and answers: one at a time, never blocking longer than a second.
#pragma once

#include "agent/base/result.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

struct nl_sock;
struct nlmsghdr;

namespace penstock::net {

class Message;

// Opened for one operation and closed after it: an answer that came too late can then never be taken for the next one,
// and the socket is always in the network namespace of the calling thread. Opening costs some 10 microseconds.
class Socket {
public:
    using OnMessage = std::function<void(const nlmsghdr&)>;

    // protocol: NETLINK_ROUTE or NETLINK_XFRM. EPROTONOSUPPORT if the kernel was built without it.
    static Result<Socket> make(int protocol);
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&&) = delete;
    ~Socket();

    // Each fails with "what: errno's text (the kernel's own words)"; Error::code() is the errno. No answer within a
    // second is ETIMEDOUT; whether the kernel did it is then unknown.
    Status request(Message& message, std::string_view what); // answered by an ACK
    Status query(Message& message, std::string_view what,
                 const OnMessage& on_message); // answered by one message, no ACK
    // Answered by many messages. EINTR if the table changed meanwhile: start again (collect() does).
    Status dump(Message& message, std::string_view what, const OnMessage& on_message);

private:
    explicit Socket(nl_sock* socket);
    Status exchange(Message& message, std::uint16_t flags, std::string_view what, const OnMessage& on_message);
    Result<bool> receive(std::uint32_t sequence, bool dump, std::string_view what, const OnMessage& on_message,
                         bool& interrupted);

    nl_sock* socket_;
    std::vector<std::uint8_t> buffer_; // wiped at the end: the kernel's answers about SAs carry their keys
};

// One request on a socket of its own.
Status transact(int protocol, Message& message, std::string_view what);

// A whole table: parse returns an optional<T> per message, empty to leave it out.
template <class T, class Parse>
Result<std::vector<T>> collect(int protocol, Message& message, std::string_view what, Parse parse) {
    constexpr int kTries = 5; // a table that changes under five readings in a row is an error, not an endless loop
    for (int i = 1;; i++) {
        auto socket = Socket::make(protocol);
        if (!socket)
            return fail(what, std::move(socket.error()));
        std::vector<T> out;
        auto done = socket->dump(message, what, [&](const nlmsghdr& answer) {
            if (std::optional<T> entry = parse(answer))
                out.push_back(std::move(*entry));
        });
        if (done)
            return out;
        if (done.error().code() != EINTR || i == kTries)
            return tl::unexpected(std::move(done.error()));
    }
}

} // namespace penstock::net
