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
    static Result<std::unique_ptr<Server>> listen(EventLoop& loop, const std::filesystem::path& path,
                                                  core::Requests& requests);
    ~Server();

private:
    friend class Connection;
    Server(EventLoop& loop, std::filesystem::path path, core::Requests& requests);
    void accept();

    EventLoop& loop_;
    std::filesystem::path path_;
    core::Requests& requests_;
    Fd socket_;
    EventSource source_;
    std::size_t bodies_ = 0; // bytes that connections announced and have not sent whole
    std::set<std::shared_ptr<Connection>> connections_;
};

} // namespace penstock::control
