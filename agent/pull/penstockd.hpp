// Asks penstockd, at the socket that it keeps for the API.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace penstock::pull {

class Penstockd {
public:
    using Stop = std::function<bool()>;
    // stop: asked several times a second; true ends a question.
    Penstockd(std::filesystem::path socket, Stop stop) : path_(std::move(socket)), stop_(std::move(stop)) {}

    // One request and its answer.
    [[nodiscard]] Result<nlohmann::json> status() const;
    // The bytes of the file from its beginning; asker: who is to stand in the audit log.
    [[nodiscard]] Result<nlohmann::json> push(const Fd& file, std::uint64_t size, const nlohmann::json& asker) const;

private:
    using Deadline = std::chrono::steady_clock::time_point;
    [[nodiscard]] Result<Fd> connect() const;
    [[nodiscard]] Status wait(int socket, short events, Deadline until) const;
    [[nodiscard]] Status send(int socket, std::string_view bytes, Deadline until) const;
    [[nodiscard]] Result<nlohmann::json> answer(int socket, Deadline until) const;

    std::filesystem::path path_;
    Stop stop_;
};

} // namespace penstock::pull
