// What a person, or a program for them, may ask of the agent. Two Unix sockets bring requests here: one for people of
// this machine, one for penstock-api, which speaks for clients elsewhere.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace penstock::core {

// By which socket a request came decides what may be asked: whoever takes penstock-api over gains what it may ask for.
enum class Door { control, api };
bool may_ask(Door door, std::string_view op);

// Who asks: a user of this machine, and behind penstock-api the client as it describes him.
struct Asker {
    uid_t uid = 0;
    nlohmann::json client = nlohmann::json::object(); // of the API: "client", "fingerprint", "role" and
                                                      // "client_address", those that are texts

    // For the event of what was asked.
    void sign(nlohmann::json& event) const;
};
Asker asker_of(uid_t uid, Door door, const nlohmann::json& request);

// Where an answer goes. Alive as long as somebody wants to hear it.
class Answer {
public:
    virtual ~Answer() = default;
    virtual void send(const nlohmann::json& message) = 0; // the answer, or one item of a stream
    virtual void finish() = 0;                            // no more will come
    // Called when nobody listens any more; at once if that is so already.
    virtual void on_close(std::function<void()> callback) = 0;
    [[nodiscard]] virtual uid_t uid() const = 0; // who asks
    [[nodiscard]] virtual Door door() const = 0; // by which socket
};

// The bytes behind a request, and their share of what all connections may send at once: given back when nobody holds
// it.
struct Body {
    std::string bytes;
    std::shared_ptr<const void> room;
};

class Requests {
public:
    virtual ~Requests() = default;
    // One {"op": ...}, with the bytes that "size" announced; answers {"ok": true, ...} or {"ok": false, "error":
    // "..."}, now or later.
    virtual void handle(const nlohmann::json& request, Body body, std::shared_ptr<Answer> answer) = 0;
};

} // namespace penstock::core
