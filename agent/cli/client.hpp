// Speaks with penstockd over its control socket: one JSON object a line.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace penstock::cli {

class Client {
public:
    // Errors say how to start the agent, or which group opens its socket.
    static Result<Client> connect(const std::string& path);

    // body: raw bytes behind the request, whose "size" says how many.
    Status send(const nlohmann::json& request, std::string_view body = {});
    // The next line, or nothing if none came in this time; an error when the agent closed the connection.
    Result<std::optional<nlohmann::json>> receive_within(std::chrono::milliseconds time);
    // Request and answer. {"ok": false} becomes the error it carries. On a terminal it shows that it waits, if that
    // takes longer than a second.
    Result<nlohmann::json> ask(const nlohmann::json& request, std::string_view body = {});
    // One more line, as ask() waits for it.
    Result<nlohmann::json> await();

private:
    Status send_bytes(std::string_view rest);
    explicit Client(Fd socket) : socket_(std::move(socket)) {}
    Fd socket_;
    std::string buffer_;
};

} // namespace penstock::cli
