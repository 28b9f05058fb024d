// One question to penstockd, over the socket that it keeps for the API.
#pragma once

#include "agent/api/asio.hpp"
#include "agent/base/result.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace penstock::api {

class Backend {
public:
    explicit Backend(const asio::any_io_executor& executor) : socket_(executor) {}

    // Connects and sends one line. Errors are for the client: why penstockd cannot be asked.
    asio::awaitable<Status> ask(const std::filesystem::path& path, std::string request, std::chrono::seconds patience);
    asio::awaitable<Status> send(std::string_view bytes, std::chrono::seconds patience);
    // The next line, without its end; at most as long as what penstockd keeps for a reader. Patience 0: however
    // long it takes.
    asio::awaitable<Result<std::string>> line(std::chrono::seconds patience);
    void close() { socket_.close(); }

private:
    beast::basic_stream<asio::local::stream_protocol> socket_;
    std::string buffer_;
};

} // namespace penstock::api
