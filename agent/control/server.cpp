#include "agent/control/server.hpp"

#include "policy/limits.hpp"

#include <cstring>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace penstock::control {
namespace {

// The largest bundle, with every byte of it escaped at worst twice, and what stands around it.
constexpr std::size_t kMaxRequest = 2 * policy::kMaxEnvelopeBytes.value + 4096;
// A reader that does not read loses the connection, not our memory.
constexpr std::size_t kMaxUnsent = 8U << 20;
constexpr std::size_t kMaxSessions = 64;

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.string().size() >= sizeof address.sun_path)
        return fail(path.string() + " is too long for a socket; choose a shorter [paths] run");
    std::strcpy(address.sun_path, path.c_str());
    return address;
}

bool somebody_answers(const sockaddr_un& address) {
    const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return probe && connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

} // namespace

// One connection. Kept by the server until it closes, and by an answer that is still to come.
class Session final : public core::Answer, public std::enable_shared_from_this<Session> {
public:
    Session(Server& server, Fd socket, uid_t uid) : server_(server), socket_(std::move(socket)), uid_(uid) {}
    ~Session() override = default;

    Status start() { return watch(EPOLLIN); }

    void send(const nlohmann::json& message) override {
        if (!socket_)
            return;
        // Text of strangers may hold broken UTF-8; a reader of ours gets it replaced.
        out_ += message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
        if (out_.size() > kMaxUnsent)
            return close();
        flush();
    }
    void finish() override {
        busy_ = false;
        if (socket_)
            take_requests();
    }
    void on_close(std::function<void()> callback) override { on_close_ = std::move(callback); }
    [[nodiscard]] uid_t uid() const override { return uid_; }

    void close() {
        if (!socket_)
            return;
        source_ = {};
        socket_.reset();
        if (on_close_)
            on_close_();
        on_close_ = nullptr;
        server_.sessions_.erase(shared_from_this());
    }

private:
    Status watch(std::uint32_t events) {
        if (events == watched_)
            return {};
        source_ = {};
        auto source = server_.loop_.on_fd(socket_.get(), events, [self = weak_from_this()](std::uint32_t ready) {
            if (const auto session = self.lock())
                session->ready(ready);
        });
        if (!source)
            return tl::unexpected(source.error());
        source_ = std::move(*source);
        watched_ = events;
        return {};
    }

    void ready(std::uint32_t events) {
        if (events & EPOLLOUT)
            flush();
        if (socket_ && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive();
    }

    void receive() {
        char buffer[65536];
        const auto got = recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0)
            return close();
        in_.append(buffer, static_cast<std::size_t>(got));
        if (in_.size() > kMaxRequest) {
            send({{"ok", false}, {"error", "the request is larger than any bundle may be"}});
            return close();
        }
        take_requests();
    }

    void take_requests() {
        while (socket_ && !busy_) {
            const auto end = in_.find('\n', searched_);
            searched_ = end == std::string::npos ? in_.size() : 0;
            if (end == std::string::npos)
                return;
            const auto line = in_.substr(0, end);
            in_.erase(0, end + 1);
            const auto request = parse(line);
            busy_ = true;
            if (request.is_object()) {
                server_.requests_.handle(request, shared_from_this());
            } else {
                send({{"ok", false}, {"error", "a request is one JSON object on one line"}});
                busy_ = false;
            }
        }
    }

    // Requests are flat: depth is refused before it costs anything.
    static nlohmann::json parse(const std::string& line) {
        const auto flat = [](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) { return depth <= 2; };
        return nlohmann::json::parse(line, flat, false);
    }

    void flush() {
        while (!out_.empty()) {
            const auto sent = ::send(socket_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR)
                continue;
            if (sent < 0 && errno == EAGAIN)
                break;
            if (sent < 0)
                return close();
            out_.erase(0, static_cast<std::size_t>(sent));
        }
        if (!watch(EPOLLIN | (out_.empty() ? 0U : static_cast<std::uint32_t>(EPOLLOUT))))
            close();
    }

    Server& server_;
    Fd socket_;
    uid_t uid_;
    EventSource source_;
    std::uint32_t watched_ = 0;
    std::string in_, out_;
    std::size_t searched_ = 0; // no newline in in_ before this
    bool busy_ = false;        // a request is being answered; the next one waits
    std::function<void()> on_close_;
};

Server::Server(EventLoop& loop, std::filesystem::path path, core::Requests& requests)
    : loop_(loop), path_(std::move(path)), requests_(requests) {}

Server::~Server() {
    while (!sessions_.empty())
        (*sessions_.begin())->close();
    if (socket_)
        unlink(path_.c_str());
}

Result<std::unique_ptr<Server>> Server::listen(EventLoop& loop, const std::filesystem::path& path,
                                               core::Requests& requests) {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    const auto address = address_of(path);
    if (!address)
        return tl::unexpected(address.error());
    if (somebody_answers(*address))
        return fail("another penstockd answers on " + path.string() + "; stop it first");
    unlink(path.c_str());
    std::unique_ptr<Server> server(new Server(loop, path, requests));
    server->socket_ = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!server->socket_ ||
        bind(server->socket_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
        ::listen(server->socket_.get(), 16) != 0)
        return fail_errno("cannot listen on " + path.string());
    // Root, and the group that a package makes for operators.
    const group* operators = getgrnam("penstock");
    if (chmod(path.c_str(), 0660) != 0 || (operators != nullptr && chown(path.c_str(), 0, operators->gr_gid) != 0))
        return fail_errno("cannot set the permissions of " + path.string());
    auto source = loop.on_fd(server->socket_.get(), EPOLLIN, [raw = server.get()](std::uint32_t) { raw->accept(); });
    if (!source)
        return tl::unexpected(source.error());
    server->source_ = std::move(*source);
    return server;
}

void Server::accept() {
    Fd socket(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket || sessions_.size() >= kMaxSessions)
        return;
    ucred who{};
    socklen_t size = sizeof who;
    if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return;
    const auto session = std::make_shared<Session>(*this, std::move(socket), who.uid);
    sessions_.insert(session);
    if (!session->start())
        session->close();
}

} // namespace penstock::control
