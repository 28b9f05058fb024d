// The Unix socket: one JSON object a line in, with "size" bytes behind it if it says so; one or more lines out. Who may
// connect is a matter of the socket's permissions.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/fd.hpp"
#include "agent/core/requests.hpp"

#include <filesystem>
#include <memory>
#include <set>

namespace penstock::control {

class Connection;

class Server {
public:
    // Fails if another penstockd answers on this path.
    // idle: a connection that asks nothing for so long is closed; one that waits for an answer or follows is not.
    static Result<std::unique_ptr<Server>> listen(EventLoop& loop, const std::filesystem::path& path,
                                                  core::Requests& requests,
                                                  EventLoop::Millis idle = std::chrono::seconds(60));
    ~Server();

private:
    friend class Connection;
    Server(EventLoop& loop, std::filesystem::path path, core::Requests& requests, EventLoop::Millis idle);
    void accept();
    void close_idle();

    EventLoop& loop_;
    std::filesystem::path path_;
    core::Requests& requests_;
    Fd socket_;
    EventLoop::Millis idle_;
    EventSource source_, idle_source_;
    std::size_t bodies_ = 0; // bytes that connections announced and have not sent whole
    std::set<std::shared_ptr<Connection>> connections_;
};

} // namespace penstock::control
