#include "agent/cli/client.hpp"

#include <cstdio>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace penstock::cli {

Result<Client> Client::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail("the socket's path " + path + " is too long");
    std::strcpy(address.sun_path, path.c_str());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket)
        return fail_errno("socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        return Client(std::move(socket));
    if (errno == ENOENT || errno == ECONNREFUSED)
        return fail("penstockd is not running (nobody answers on " + path + "); start it: systemctl start penstockd");
    if (errno == EACCES)
        return fail("you may not use " + path + "; run as root, or join the group penstock");
    return fail_errno("cannot reach penstockd on " + path);
}

Status Client::send(const nlohmann::json& request, std::string_view body) {
    if (auto ok = send_bytes(request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"); !ok)
        return ok;
    return send_bytes(body);
}

Status Client::send_bytes(std::string_view rest) {
    while (!rest.empty()) {
        const auto sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return fail_errno("penstockd closed the connection");
        rest.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
}

Result<std::optional<nlohmann::json>> Client::receive_within(std::chrono::milliseconds time) {
    using Clock = std::chrono::steady_clock;
    const auto until = Clock::now() + time;
    for (;;) {
        if (const auto end = buffer_.find('\n'); end != std::string::npos) {
            auto message = nlohmann::json::parse(buffer_.substr(0, end), nullptr, false);
            buffer_.erase(0, end + 1);
            if (message.is_discarded())
                return fail("penstockd answered with something that is not JSON");
            return message;
        }
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
        pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) == 0)
            return std::nullopt;
        char chunk[65536];
        const auto got = recv(socket_.get(), chunk, sizeof chunk, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno("penstockd does not answer");
        if (got == 0)
            return fail("penstockd closed the connection", ECONNRESET);
        buffer_.append(chunk, static_cast<std::size_t>(got));
    }
}

// Says on a terminal that it waits, from the second second on.
Result<nlohmann::json> Client::await() {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    for (int seconds = 0;; seconds++) {
        auto message = receive_within(std::chrono::seconds(1));
        if (seconds != 0 && terminal && (!message || *message))
            std::fputs("\r\033[K", stderr);
        if (!message)
            return tl::unexpected(message.error());
        if (*message)
            return std::move(**message);
        if (terminal)
            std::fprintf(stderr, "\rwaiting for penstockd, %d s ", seconds + 1);
    }
}

Result<nlohmann::json> Client::ask(const nlohmann::json& request, std::string_view body) {
    // A refusal may come, and the connection end, before all is sent: then the refusal is what matters.
    const auto sent = send(request, body);
    auto answer = await();
    if (!answer && !sent)
        return tl::unexpected(sent.error());
    if (answer && !answer->value("ok", false))
        return fail(answer->value("error", "penstockd refused without a reason"));
    return answer;
}

} // namespace penstock::cli
