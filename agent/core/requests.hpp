// What a person, or a program for them, may ask of the agent. The Unix socket brings requests here; so will other
// listeners.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>

namespace penstock::core {

// Where an answer goes. Alive as long as somebody wants to hear it.
class Answer {
public:
    virtual ~Answer() = default;
    virtual void send(const nlohmann::json& message) = 0; // the answer, or one item of a stream
    virtual void finish() = 0;                            // no more will come
    // Called when nobody listens any more; at once if that is so already.
    virtual void on_close(std::function<void()> callback) = 0;
    [[nodiscard]] virtual uid_t uid() const = 0; // who asks
};

class Requests {
public:
    virtual ~Requests() = default;
    // One {"op": ...}, with the bytes that "size" announced; answers {"ok": true, ...} or {"ok": false, "error":
    // "..."}, now or later.
    virtual void handle(const nlohmann::json& request, std::string body, std::shared_ptr<Answer> answer) = 0;
};

} // namespace penstock::core
