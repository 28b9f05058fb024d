// One client's connection: handshake, and then a request after the other until somebody has enough.
#pragma once

#include "agent/api/asio.hpp"
#include "agent/api/backend.hpp"
#include "agent/api/limits.hpp"
#include "agent/api/metrics.hpp"
#include "agent/api/routes.hpp"

#include <functional>
#include <memory>
#include <string>

namespace penstock::api {

// What all sessions share, and outlives them: the event loop's end ends those that are left.
struct Service {
    const core::ApiConfig& config;
    const std::filesystem::path& socket; // penstockd's
    const Limits limits{};
    Counters counters;
    std::size_t connections = 0;
    std::size_t uploads = 0, streams = 0, questions = 0;
    std::string last_failure; // of a handshake, since it was last told
};

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(Service& service, tcp::socket socket, std::shared_ptr<asio::ssl::context> tls, IpAddress from);

    // on_verified: the client has shown a good certificate. Ends when the connection does.
    asio::awaitable<void> run(std::function<void()> on_verified);
    void close(); // at once
    // Whom to trust may be another question now: a request under way is answered, then the client must come anew.
    void retire();

private:
    using Parser = http::request_parser<http::buffer_body>;
    struct Answer {
        unsigned code = 200;
        std::string body;
        const char* type = "application/json";
        std::string allow = {};
        bool unread = false; // something of the request: this is the last answer
    };

    asio::awaitable<bool> handshake();
    asio::awaitable<bool> serve_one();
    asio::awaitable<bool> respond(Parser& parser);
    asio::awaitable<Answer> ask(What what, nlohmann::json request);
    asio::awaitable<Answer> explain(Parser& parser);
    asio::awaitable<Answer> push(Parser& parser, const Call& call);
    asio::awaitable<bool> forward(Parser& parser, Backend& backend);
    asio::awaitable<void> stream(bool follow);
    asio::awaitable<bool> stream_lines(Backend& backend, bool follow);
    asio::awaitable<void> watch_for_end(std::shared_ptr<Backend> backend);
    asio::awaitable<bool> go_on(const Parser& parser);
    asio::awaitable<bool> read_piece(Parser& parser, char* into_buffer, std::size_t& size);
    asio::awaitable<bool> write(Answer answer, bool keep);
    asio::awaitable<void> drain();
    asio::awaitable<void> say_goodbye();
    static Answer answered(unsigned code, std::string body); // code 0: nobody to answer any more
    static Answer refused(unsigned code, const std::string& why);
    static Answer refused(const Refusal& why);

    Service& service_;
    std::shared_ptr<asio::ssl::context> tls_;
    beast::ssl_stream<beast::tcp_stream> stream_;
    IpAddress from_;
    Client client_;
    beast::flat_buffer buffer_;
    std::shared_ptr<Backend> following_; // of an endless stream
    bool idle_ = true;                   // waits for a request
    bool retired_ = false;
};

} // namespace penstock::api
