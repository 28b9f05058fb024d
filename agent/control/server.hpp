// The Unix socket: one JSON object a line in, one or more out. Who may connect is a matter of the socket's permissions.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/fd.hpp"
#include "agent/core/requests.hpp"

#include <filesystem>
#include <memory>
#include <set>

namespace penstock::control {

class Session;

class Server {
public:
    // Fails if another penstockd answers on this path.
    static Result<std::unique_ptr<Server>> listen(EventLoop& loop, const std::filesystem::path& path,
                                                  core::Requests& requests);
    ~Server();

private:
    friend class Session;
    Server(EventLoop& loop, std::filesystem::path path, core::Requests& requests);
    void accept();

    EventLoop& loop_;
    std::filesystem::path path_;
    core::Requests& requests_;
    Fd socket_;
    EventSource source_;
    std::set<std::shared_ptr<Session>> sessions_;
};

} // namespace penstock::control
