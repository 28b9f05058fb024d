// A Unix socket: one JSON object a line in, with "size" bytes behind it if it says so; one or more lines out. Who may
// connect is a matter of the socket's permissions.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/fd.hpp"
#include "agent/core/requests.hpp"

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>

namespace penstock::control {

class Connection;

// Whom the socket is for.
struct Access {
    core::Door door = core::Door::control;
    std::optional<uid_t> user; // he and root alone; none: root and the group that a package makes for operators
    std::optional<gid_t> group;

    // The API's, for this user of the system.
    static Result<Access> api(const std::string& user);
};

class Server {
public:
    // Fails if another penstockd answers on this path.
    // idle: a connection that asks nothing for so long is closed; one that waits for an answer or follows is not.
    static Result<std::unique_ptr<Server>> listen(EventLoop& loop, const std::filesystem::path& path,
                                                  core::Requests& requests,
                                                  EventLoop::Millis idle = std::chrono::seconds(60),
                                                  Access access = {});
    ~Server();

private:
    friend class Connection;
    Server(EventLoop& loop, std::filesystem::path path, core::Requests& requests, EventLoop::Millis idle,
           Access access);
    Status set_permissions();
    void accept();
    void close_idle();

    EventLoop& loop_;
    std::filesystem::path path_;
    core::Requests& requests_;
    Access access_;
    Fd socket_;
    EventLoop::Millis idle_;
    EventSource source_, idle_source_;
    // Bytes that connections announced, until whoever handles them is done with them; he may outlive the server.
    std::shared_ptr<std::atomic<std::size_t>> bodies_ = std::make_shared<std::atomic<std::size_t>>(0);
    std::set<std::shared_ptr<Connection>> connections_;
};

} // namespace penstock::control
