#include "agent/control/server.hpp"

#include "policy/limits.hpp"

#include <chrono>
#include <cstring>
#include <grp.h>
#include <optional>
#include <pwd.h>
#include <sys/epoll.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace penstock::control {
namespace {

constexpr std::size_t kMaxLine = 65536;
constexpr std::size_t kMaxBody = policy::kMaxEnvelopeBytes.value;
// Of all connections together.
constexpr std::size_t kMaxBodies = 2 * kMaxBody;
// A reader that does not read loses the connection, not our memory.
constexpr std::size_t kMaxUnsent = 8U << 20;
constexpr std::size_t kMaxConnections = 64;

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

// So many bytes of what all connections may have under way.
class Room {
public:
    Room(std::shared_ptr<std::atomic<std::size_t>> taken, std::size_t bytes) : taken_(std::move(taken)), bytes_(bytes) {
        *taken_ += bytes_;
    }
    ~Room() { *taken_ -= bytes_; }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;

private:
    std::shared_ptr<std::atomic<std::size_t>> taken_;
    std::size_t bytes_;
};

} // namespace

// Kept by the server until it closes, and by an answer that is still to come.
class Connection final : public core::Answer, public std::enable_shared_from_this<Connection> {
public:
    Connection(Server& server, Fd socket, uid_t uid) : server_(server), socket_(std::move(socket)), uid_(uid) {}
    ~Connection() override = default;

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
        active_ = std::chrono::steady_clock::now();
        // Within take_requests() its loop goes on; a stranger's thousand requests are no thousand frames of our stack.
        if (socket_ && !taking_)
            take_requests();
    }
    void on_close(std::function<void()> callback) override {
        if (socket_)
            on_close_ = std::move(callback);
        else
            callback();
    }
    [[nodiscard]] uid_t uid() const override { return uid_; }
    [[nodiscard]] core::Door door() const override { return server_.access_.door; }

    // How long it has asked for nothing and waited for nothing.
    [[nodiscard]] std::chrono::steady_clock::duration idle_for() const {
        return busy_ ? std::chrono::steady_clock::duration{} : std::chrono::steady_clock::now() - active_;
    }

    void close() {
        if (!socket_)
            return;
        source_ = {};
        socket_.reset();
        room_.reset();
        if (on_close_)
            on_close_();
        on_close_ = nullptr;
        server_.connections_.erase(shared_from_this());
    }

private:
    Status watch(std::uint32_t events) {
        if (events == watched_)
            return {};
        source_ = {};
        auto source = server_.loop_.on_fd(socket_.get(), events, [self = weak_from_this()](std::uint32_t ready) {
            if (const auto connection = self.lock())
                connection->ready(ready);
        });
        if (!source)
            return tl::unexpected(source.error());
        source_ = std::move(*source);
        watched_ = events;
        return {};
    }

    // While a request is answered, what comes next waits in the socket, not in our memory; that the other end is gone
    // is told all the same.
    void watch_what_matters() {
        const std::uint32_t in = busy_ ? EPOLLRDHUP : EPOLLIN;
        if (!watch(in | (out_.empty() ? 0U : static_cast<std::uint32_t>(EPOLLOUT))))
            close();
    }

    void ready(std::uint32_t events) {
        if (events & EPOLLOUT)
            flush();
        if (!socket_)
            return;
        if (busy_ && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            close();
        else if (!busy_ && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
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
        active_ = std::chrono::steady_clock::now();
        take_requests();
    }

    void take_requests() {
        taking_ = true;
        while (socket_ && !busy_ && take_one()) {
        }
        taking_ = false;
        if (socket_ && !busy_ && !body_size_ && in_.size() > kMaxLine)
            return refuse_and_close("a request is one JSON object on one line of at most 64 KiB");
        if (socket_)
            watch_what_matters();
    }

    // One request, once it and the bytes it announced are here.
    bool take_one() {
        if (!body_size_) {
            const auto end = in_.find('\n', searched_);
            searched_ = end == std::string::npos ? in_.size() : 0;
            if (end == std::string::npos)
                return false;
            request_ =
                nlohmann::json::parse(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
            in_.erase(0, end + 1);
            if (!request_.is_object()) {
                send({{"ok", false}, {"error", "a request is one JSON object on one line"}});
                return true;
            }
            const auto size = request_.find("size");
            body_size_ = size != request_.end() && size->is_number_unsigned() ? size->get<std::size_t>() : 0;
            if (*body_size_ > kMaxBody) {
                body_size_.reset();
                refuse_and_close("more bytes than any bundle may have: " + policy::describe(policy::kMaxEnvelopeBytes));
                return false;
            }
            if (*server_.bodies_ + *body_size_ > kMaxBodies) {
                body_size_.reset();
                refuse_and_close("too many bundles at once; try again");
                return false;
            }
            room_ = std::make_shared<Room>(server_.bodies_, *body_size_);
            in_.reserve(*body_size_);
        }
        if (in_.size() < *body_size_)
            return false;
        core::Body body{.bytes = {}, .room = std::move(room_)};
        if (in_.size() == *body_size_)
            body.bytes.swap(in_);
        else if (*body_size_ != 0) {
            body.bytes = in_.substr(0, *body_size_);
            in_.erase(0, *body_size_);
        }
        body_size_.reset();
        busy_ = true;
        server_.requests_.handle(request_, std::move(body), shared_from_this());
        return true;
    }

    void refuse_and_close(const std::string& why) {
        send({{"ok", false}, {"error", why}});
        close();
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
        if (!taking_) // which looks once it is done
            watch_what_matters();
    }

    Server& server_;
    Fd socket_;
    uid_t uid_;
    EventSource source_;
    std::uint32_t watched_ = 0;
    std::string in_, out_;
    std::size_t searched_ = 0; // no newline in in_ before this
    nlohmann::json request_;
    std::optional<std::size_t> body_size_; // bytes that follow request_; none: a line is awaited
    std::shared_ptr<const Room> room_;     // for them
    bool busy_ = false;                    // a request is being answered; the next one waits
    bool taking_ = false;
    std::chrono::steady_clock::time_point active_ = std::chrono::steady_clock::now();
    std::function<void()> on_close_;
};

Server::Server(EventLoop& loop, std::filesystem::path path, core::Requests& requests, EventLoop::Millis idle,
               Access access)
    : loop_(loop), path_(std::move(path)), requests_(requests), access_(access), idle_(idle) {}

Result<Access> Access::api(const std::string& user) {
    const passwd* entry = getpwnam(user.c_str());
    if (entry == nullptr)
        return fail("[api] or [bundle] user: there is no user " + user + "; make one: useradd --system " + user);
    return Access{.door = core::Door::api, .user = entry->pw_uid, .group = entry->pw_gid};
}

Status Server::set_permissions() {
    auto gid = access_.group;
    if (const group* operators = gid ? nullptr : getgrnam("penstock"); operators != nullptr)
        gid = operators->gr_gid;
    // Whoever is in a group may give files of his own to it: that needs no CAP_CHOWN, which penstockd.service has not.
    const auto before = gid ? setfsgid(*gid) : 0;
    const bool given = !gid || chown(path_.c_str(), 0, *gid) == 0;
    if (gid)
        setfsgid(static_cast<gid_t>(before));
    if (!given || chmod(path_.c_str(), 0660) != 0)
        return fail_errno("cannot set the permissions of " + path_.string());
    return {};
}

Server::~Server() {
    while (!connections_.empty())
        (*connections_.begin())->close();
    if (socket_)
        unlink(path_.c_str());
}

Result<std::unique_ptr<Server>> Server::listen(EventLoop& loop, const std::filesystem::path& path,
                                               core::Requests& requests, EventLoop::Millis idle, Access access) {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error)
        return fail_errno("cannot make the run folder " + path.parent_path().string(), error.value());
    const auto address = address_of(path);
    if (!address)
        return tl::unexpected(address.error());
    if (somebody_answers(*address))
        return fail("another penstockd answers on " + path.string() + "; stop it first");
    unlink(path.c_str());
    std::unique_ptr<Server> server(new Server(loop, path, requests, idle, access));
    server->socket_ = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!server->socket_ ||
        bind(server->socket_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
        ::listen(server->socket_.get(), 16) != 0)
        return fail_errno("cannot listen on " + path.string());
    if (auto ok = server->set_permissions(); !ok)
        return tl::unexpected(ok.error());
    auto source = loop.on_fd(server->socket_.get(), EPOLLIN, [raw = server.get()](std::uint32_t) { raw->accept(); });
    if (!source)
        return tl::unexpected(source.error());
    server->source_ = std::move(*source);
    auto timer = loop.every(idle / 4, [raw = server.get()] { raw->close_idle(); });
    if (!timer)
        return tl::unexpected(timer.error());
    server->idle_source_ = std::move(*timer);
    return server;
}

void Server::close_idle() {
    const auto all = connections_; // closing takes one out
    for (const auto& connection : all)
        if (connection->idle_for() > idle_)
            connection->close();
}

void Server::accept() {
    Fd socket(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket)
        return;
    ucred who{};
    socklen_t size = sizeof who;
    if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return;
    if (access_.user && who.uid != 0 && who.uid != *access_.user)
        return;
    // Operators cannot lock root out.
    if (connections_.size() >= (who.uid == 0 ? kMaxConnections : kMaxConnections / 2))
        return;
    const auto connection = std::make_shared<Connection>(*this, std::move(socket), who.uid);
    connections_.insert(connection);
    if (!connection->start())
        connection->close();
}

} // namespace penstock::control
