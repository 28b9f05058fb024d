#include "agent/pull/penstockd.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace penstock::pull {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxLine = 8U << 20; // penstockd keeps no more for us
constexpr std::size_t kPiece = 64U << 10;
constexpr std::chrono::seconds kAnswer{30};
constexpr std::chrono::seconds kPush{900}; // it compiles and waits its turn
constexpr int kSlice = 200;                // milliseconds between questions whether to stop

tl::unexpected<Error> closed() { return fail("penstockd closed the connection"); }

} // namespace

Result<Fd> Penstockd::connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.string().size() >= sizeof address.sun_path)
        return fail(path_.string() + " is too long for a socket; choose a shorter [paths] run");
    std::strcpy(address.sun_path, path_.c_str());
    Fd out(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!out || ::connect(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_errno("penstockd does not answer at " + path_.string());
    return out;
}

Status Penstockd::wait(int socket, short events, Deadline until) const {
    while (!stop_()) {
        if (Clock::now() >= until)
            return fail("penstockd does not answer in time");
        pollfd one{.fd = socket, .events = events, .revents = 0};
        if (poll(&one, 1, kSlice) > 0)
            return {};
    }
    return fail("stopped");
}

Status Penstockd::send(int socket, std::string_view bytes, Deadline until) const {
    while (!bytes.empty()) {
        const auto sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent > 0)
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        else if (errno != EAGAIN && errno != EINTR)
            return closed();
        else if (auto ok = wait(socket, POLLOUT, until); !ok)
            return ok;
    }
    return {};
}

Result<nlohmann::json> Penstockd::answer(int socket, Deadline until) const {
    std::string line;
    const auto piece = std::make_unique<std::array<char, kPiece>>();
    while (line.find('\n') == std::string::npos) {
        if (auto ok = wait(socket, POLLIN, until); !ok)
            return tl::unexpected(ok.error());
        const auto got = recv(socket, piece->data(), piece->size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0 || line.size() > kMaxLine)
            return closed();
        line.append(piece->data(), static_cast<std::size_t>(got));
    }
    auto out = nlohmann::json::parse(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(line.find('\n')), nullptr,
                                     false);
    if (!out.is_object())
        return fail("penstockd answered with something that is not JSON");
    return out;
}

Result<nlohmann::json> Penstockd::status() const {
    const auto until = Clock::now() + kAnswer;
    const auto socket = connect();
    if (!socket)
        return tl::unexpected(socket.error());
    if (auto ok = send(socket->get(), "{\"op\":\"status\"}\n", until); !ok)
        return tl::unexpected(ok.error());
    return answer(socket->get(), until);
}

Result<nlohmann::json> Penstockd::push(const Fd& file, std::uint64_t size, const nlohmann::json& asker) const {
    const auto until = Clock::now() + kPush;
    const auto socket = connect();
    if (!socket)
        return tl::unexpected(socket.error());
    const nlohmann::json request = {{"op", "push"}, {"size", size}, {"asker", asker}};
    auto sent = send(socket->get(), request.dump() + "\n", until);
    const auto piece = std::make_unique<std::array<char, kPiece>>();
    for (std::uint64_t done = 0; sent && done < size;) {
        const auto got = pread(file.get(), piece->data(), piece->size(), static_cast<off_t>(done));
        if (got <= 0)
            return fail_errno("cannot read what was fetched");
        sent = send(socket->get(), {piece->data(), static_cast<std::size_t>(got)}, until);
        done += static_cast<std::uint64_t>(got);
    }
    // A refusal may come before all is sent; then that is the answer.
    return answer(socket->get(), until);
}

} // namespace penstock::pull
