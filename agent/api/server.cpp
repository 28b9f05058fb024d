#include "agent/api/server.hpp"

#include "agent/base/log.hpp"

#include <cerrno>
#include <cstring>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace penstock::api {
namespace {

constexpr std::chrono::seconds kTick{1};
constexpr std::chrono::milliseconds kBreath{100}; // after an accept() that failed
constexpr int kUnacknowledged = 60'000;           // milliseconds until a silent client's connection ends
constexpr unsigned kTellEvery = 10;               // ticks

tcp::endpoint endpoint_of(const core::Endpoint& from) {
    if (from.address.family == AF_INET) {
        asio::ip::address_v4::bytes_type bytes{};
        std::memcpy(bytes.data(), from.address.bytes.data(), bytes.size());
        return {asio::ip::address_v4(bytes), from.port};
    }
    asio::ip::address_v6::bytes_type bytes{};
    std::memcpy(bytes.data(), from.address.bytes.data(), bytes.size());
    return {asio::ip::address_v6(bytes), from.port};
}

IpAddress address_of(const tcp::endpoint& from) {
    IpAddress out{.family = from.address().is_v4() ? AF_INET : AF_INET6};
    if (from.address().is_v4())
        std::memcpy(out.bytes.data(), from.address().to_v4().to_bytes().data(), 4);
    else
        std::memcpy(out.bytes.data(), from.address().to_v6().to_bytes().data(), 16);
    return out;
}

} // namespace

Server::Server(asio::io_context& io, Service& service, const std::vector<std::string>& lan)
    : io_(io), service_(service), lan_(lan), watch_([this] { return tls_files(config()); }) {}

Status Server::start() {
    watch_.reading();
    auto tls = load_tls(config());
    if (!tls)
        return tl::unexpected(tls.error());
    tls_ = std::move(*tls);
    const auto listening = listen();
    if (!listening)
        return tl::unexpected(listening.error());
    asio::co_spawn(io_, [this] { return tick(); }, asio::detached);
    return {};
}

Result<bool> Server::listen() {
    if (auto ok = config().check_listen(lan_); !ok)
        return tl::unexpected(ok.error());
    const auto endpoint = endpoint_of(config().listen);
    const auto context = "cannot listen on " + config().listen.str();
    tcp::acceptor acceptor(io_);
    error_code error;
    acceptor.open(endpoint.protocol(), error);
    if (!error)
        acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error)
        acceptor.bind(endpoint, error);
    if (error.value() == EADDRNOTAVAIL) {
        if (const auto why = config().listen.address.str() + " is no address of this machine yet";
            why != std::exchange(said_, why))
            log::warning("not_listening", {{"why", why}});
        return false;
    }
    if (!error)
        acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error)
        return fail_errno(context, error.value());
    said_.clear();
    acceptor_.emplace(std::move(acceptor));
    asio::co_spawn(io_, [this] { return accept(); }, asio::detached);
    log::info("listening", {{"on", config().listen.str()}});
    return true;
}

asio::awaitable<void> Server::accept() {
    while (acceptor_ && acceptor_->is_open()) {
        error_code error;
        auto socket = co_await acceptor_->async_accept(into(error));
        if (!error) {
            welcome(std::move(socket));
            continue;
        }
        asio::steady_timer timer(io_, kBreath);
        co_await timer.async_wait(into(error));
    }
}

void Server::welcome(tcp::socket socket) {
    error_code error;
    const auto peer = socket.remote_endpoint(error);
    if (error)
        return;
    const auto from = address_of(peer);
    const auto verdict = admission_.admit(from);
    for (const auto id : verdict.make_room)
        if (const auto session = sessions_[id].lock()) {
            service_.counters.evicted++;
            session->close();
        }
    if (!verdict.id) {
        service_.counters.refused++;
        return;
    }
    const int silence = kUnacknowledged;
    (void)setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
    socket.set_option(asio::socket_base::keep_alive(true), error);
    const auto id = *verdict.id;
    auto session = std::make_shared<Session>(service_, std::move(socket), tls_, from);
    sessions_[id] = session;
    service_.connections++;
    asio::co_spawn(
        io_, [this, session, id] { return session->run([this, id] { admission_.verified(id); }); },
        [this, id](const std::exception_ptr& failed) {
            if (failed)
                log::error("session_failed", {});
            admission_.gone(id);
            sessions_.erase(id);
            service_.connections--;
        });
}

asio::awaitable<void> Server::tick() {
    for (unsigned count = 0;; count++) {
        error_code error;
        asio::steady_timer timer(io_, kTick);
        co_await timer.async_wait(into(error));
        look_at_files();
        look_at_address();
        if (count % kTellEvery == 0)
            tell_failures();
    }
}

// What is no good changes nothing, and is said once.
void Server::look_at_files() {
    if (!watch_.changed())
        return;
    watch_.reading();
    auto tls = load_tls(config());
    if (!tls)
        return log::error("reload_refused", {{"why", tls.error().message()}, {"effect", "nothing has changed"}});
    tls_ = std::move(*tls);
    const auto all = sessions_; // closing may take one out
    for (const auto& [id, weak] : all)
        if (const auto session = weak.lock())
            session->retire();
    log::info("reloaded", {{"what", "certificate, private key, CAs and CRLs"}});
}

// An address comes and goes, also to a LAN.
void Server::look_at_address() {
    const bool open = acceptor_ && acceptor_->is_open();
    const auto ok = open ? config().check_listen(lan_) : Status{};
    const auto listening = !ok ? Result<bool>(tl::unexpected(ok.error())) : open ? Result<bool>(true) : listen();
    if (listening)
        return;
    if (open)
        acceptor_.reset();
    if (const auto& why = listening.error().message(); why != said_)
        log::error("not_listening", {{"why", said_ = why}});
}

void Server::tell_failures() {
    const auto count = service_.counters.handshakes_failed - failures_told_;
    if (count == 0)
        return;
    failures_told_ += count;
    log::warning("handshakes_failed", {{"count", std::to_string(count)}, {"last", service_.last_failure}});
}

} // namespace penstock::api
