#include "agent/api/session.hpp"

#include <array>
#include <limits>
#include <openssl/err.h>
#include <openssl/ssl.h>

namespace penstock::api {
namespace {

constexpr std::size_t kPiece = 64U << 10;
constexpr std::size_t kMaxDrained = 1U << 20;
constexpr std::chrono::seconds kGoodbye{2};
constexpr std::chrono::seconds kForever{0};

// Takes one of so many seats, if one is free.
class Seat {
public:
    Seat(std::size_t& taken, std::size_t limit) : taken_(taken), mine_(taken < limit) { taken_ += mine_ ? 1 : 0; }
    ~Seat() { taken_ -= mine_ ? 1 : 0; }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    explicit operator bool() const { return mine_; }

private:
    std::size_t& taken_;
    bool mine_;
};

std::string error_body(const std::string& why) {
    return nlohmann::json{{"ok", false}, {"error", why}}.dump(-1, ' ', false,
                                                              nlohmann::json::error_handler_t::replace) +
           "\n";
}

// Out of the coroutines: GCC 12 does not compile such lists within them. Nor does it get `co_await` within a condition
// right: every one here stands in a statement of its own.
nlohmann::json question(const char* op) { return {{"op", op}}; }

nlohmann::json events_question(bool follow) { return {{"op", "events"}, {"follow", follow}}; }

nlohmann::json push_question(std::uint64_t size, const Call& call, const Client& client) {
    nlohmann::json out = {{"op", "push"}, {"size", size}, {"dry_run", call.dry_run}, {"asker", client.asker()}};
    if (call.wait_healthy) {
        out["wait_healthy"] = *call.wait_healthy;
        out["probe"] = call.probes;
    }
    return out;
}

std::string policy_of(const nlohmann::json& status) {
    const nlohmann::json out = {{"ok", true},
                                {"policy", status.value("policy", nlohmann::json())},
                                {"root", status.value("root", nlohmann::json())}};
    return out.dump() + "\n";
}

std::string line_of(const nlohmann::json& request) {
    return request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string last_tls_error(SSL* ssl, const error_code& error) {
    if (const auto verified = SSL_get_verify_result(ssl); verified != X509_V_OK)
        return X509_verify_cert_error_string(verified);
    return error.message();
}

} // namespace

Session::Session(Service& service, tcp::socket socket, std::shared_ptr<asio::ssl::context> tls, IpAddress from)
    : service_(service), tls_(std::move(tls)), stream_(beast::tcp_stream(std::move(socket)), *tls_), from_(from) {}

void Session::close() {
    if (following_)
        following_->close();
    stream_.next_layer().close();
}

void Session::retire() {
    retired_ = true;
    if (idle_ || following_)
        close();
}

Session::Answer Session::answered(unsigned code, std::string body) { return {.code = code, .body = std::move(body)}; }

Session::Answer Session::refused(unsigned code, const std::string& why) { return answered(code, error_body(why)); }

Session::Answer Session::refused(const Refusal& why) {
    auto out = refused(why.code, why.error);
    out.allow = why.allow;
    return out;
}

asio::awaitable<void> Session::run(std::function<void()> on_verified) {
    bool more = co_await handshake();
    if (!more)
        co_return;
    on_verified();
    while (more)
        more = co_await serve_one();
}

asio::awaitable<bool> Session::handshake() {
    error_code error;
    stream_.next_layer().expires_after(service_.limits.handshake);
    co_await stream_.async_handshake(asio::ssl::stream_base::server, into(error));
    if (error) {
        service_.counters.handshakes_failed++;
        service_.last_failure = from_.str() + ": " + last_tls_error(stream_.native_handle(), error);
        co_return false;
    }
    X509* certificate = SSL_get0_peer_certificate(stream_.native_handle());
    if (certificate == nullptr || SSL_get_verify_result(stream_.native_handle()) != X509_V_OK)
        co_return false;
    client_ = Client::of(certificate, from_.str(), service_.config);
    co_return true;
}

asio::awaitable<bool> Session::serve_one() {
    if (retired_)
        co_return false;
    Parser parser;
    parser.header_limit(service_.limits.header_bytes);
    parser.body_limit(std::numeric_limits<std::uint64_t>::max()); // looked at before any of it is read
    error_code error;
    idle_ = true;
    stream_.next_layer().expires_after(service_.limits.header);
    co_await http::async_read_header(stream_, buffer_, parser, into(error));
    idle_ = false;
    if (error == http::error::header_limit || error == http::error::buffer_overflow)
        co_return co_await write(refused(431, "the request's header is larger than 8 KiB"), false);
    if (error.category() == http::make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message)
        co_return co_await write(refused(400, "this is no HTTP request: " + error.message()), false);
    if (error)
        co_return false;
    co_return co_await respond(parser);
}

asio::awaitable<bool> Session::respond(Parser& parser) {
    const auto& request = parser.get();
    const auto method = request.method_string(), target = request.target();
    const auto call = find_call({method.data(), method.size()}, {target.data(), target.size()}, client_);
    const auto length = parser.content_length().value_or(0);
    const bool body = parser.chunked() || length != 0;
    Answer answer;
    if (!call)
        answer = refused(call.error());
    else if (call->route->what == What::events) {
        co_await stream(call->follow);
        co_return false;
    } else if (call->route->what == What::bundles)
        answer = co_await push(parser, *call);
    else if (call->route->what == What::explain)
        answer = co_await explain(parser);
    else if (body)
        answer = refused(400, "a GET has no body");
    else if (call->route->what == What::devices)
        answer = co_await ask(What::devices, question("devices"));
    else
        answer = co_await ask(call->route->what, question("status"));
    answer.unread = body && !parser.is_done();
    co_return co_await write(std::move(answer), request.keep_alive());
}

// Everything that penstockd answers with one line.
asio::awaitable<Session::Answer> Session::ask(What what, nlohmann::json request) {
    const Seat seat(service_.questions, service_.limits.questions);
    if (!seat)
        co_return refused(503, "too many questions at once; try again");
    Backend backend(stream_.get_executor());
    const auto asked = co_await backend.ask(service_.socket, line_of(request), service_.limits.answer);
    Result<std::string> line = fail("");
    if (asked)
        line = co_await backend.line(service_.limits.answer);
    else
        line = tl::unexpected(asked.error());
    if (what == What::metrics) {
        const auto status = line ? nlohmann::json::parse(*line, nullptr, false) : nlohmann::json();
        auto answer = answered(200, metrics_text(status, service_.counters, service_.connections));
        answer.type = "text/plain; version=0.0.4; charset=utf-8";
        co_return answer;
    }
    if (!line)
        co_return refused(503, line.error().message());
    if (what == What::devices) // long, and never refused
        co_return answered(200, *line + "\n");
    const auto answer = nlohmann::json::parse(*line, nullptr, false);
    if (!answer.is_object())
        co_return refused(500, "penstockd answered with something that is not JSON");
    if (what == What::policy)
        co_return answered(200, policy_of(answer));
    co_return answered(code_of(what, answer), *line + "\n");
}

asio::awaitable<Session::Answer> Session::explain(Parser& parser) {
    if (parser.chunked() || !parser.content_length())
        co_return refused(411, "say the length of the body (Content-Length)");
    if (*parser.content_length() > service_.limits.question_bytes)
        co_return refused(413, "a question has at most 64 KiB");
    bool goes_on = co_await go_on(parser);
    if (!goes_on)
        co_return answered(0, ""); // nobody to answer any more
    std::string body(*parser.content_length(), '\0');
    std::size_t size = body.size();
    goes_on = co_await read_piece(parser, body.data(), size);
    if (!goes_on)
        co_return answered(0, "");
    const auto request = explain_request(body);
    if (!request)
        co_return refused(request.error());
    co_return co_await ask(What::explain, *request);
}

asio::awaitable<Session::Answer> Session::push(Parser& parser, const Call& call) {
    if (parser.chunked() || !parser.content_length())
        co_return refused(411, "say the length of the bundle (Content-Length)");
    const auto length = *parser.content_length();
    if (length > service_.limits.bundle_bytes)
        co_return refused(413, "more bytes than any bundle may have: " + policy::describe(policy::kMaxEnvelopeBytes));
    const Seat seat(service_.uploads, service_.limits.uploads);
    if (!seat)
        co_return refused(503, "too many bundles at once; try again");
    Backend backend(stream_.get_executor());
    const auto request = push_question(length, call, client_);
    const auto asked = co_await backend.ask(service_.socket, line_of(request), service_.limits.answer);
    if (!asked)
        co_return refused(503, asked.error().message());
    bool goes_on = co_await go_on(parser);
    if (goes_on)
        goes_on = co_await forward(parser, backend);
    if (!goes_on)
        co_return answered(0, "");
    const auto line = co_await backend.line(service_.limits.push);
    if (!line)
        co_return refused(503, line.error().message());
    const auto answer = nlohmann::json::parse(*line, nullptr, false);
    if (!answer.is_object())
        co_return refused(500, "penstockd answered with something that is not JSON");
    co_return answered(code_of(What::bundles, answer), *line + "\n");
}

// The body, piece by piece: none of it stays here. False: the client is gone, or too slow.
asio::awaitable<bool> Session::forward(Parser& parser, Backend& backend) {
    const auto until = std::chrono::steady_clock::now() + service_.limits.upload;
    const auto piece = std::make_unique<std::array<char, kPiece>>();
    while (!parser.is_done()) {
        std::size_t size = piece->size();
        const bool came = co_await read_piece(parser, piece->data(), size);
        if (!came || std::chrono::steady_clock::now() > until)
            co_return false;
        // A refusal may come before all is sent; then that is the answer.
        const auto sent = co_await backend.send({piece->data(), size}, service_.limits.answer);
        if (!sent)
            co_return true;
    }
    co_return true;
}

// Clients with much to say ask first whether they may.
asio::awaitable<bool> Session::go_on(const Parser& parser) {
    if (!beast::iequals(parser.get()[http::field::expect], "100-continue"))
        co_return true;
    error_code error;
    stream_.next_layer().expires_after(service_.limits.write);
    co_await asio::async_write(stream_, asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n")), into(error));
    co_return !error;
}

// size: of the buffer, then of what was read.
asio::awaitable<bool> Session::read_piece(Parser& parser, char* into_buffer, std::size_t& size) {
    auto& body = parser.get().body();
    body.data = into_buffer;
    body.size = size;
    error_code error;
    stream_.next_layer().expires_after(service_.limits.stall);
    co_await http::async_read(stream_, buffer_, parser, into(error));
    size -= body.size;
    co_return !error || error == http::error::need_buffer;
}

asio::awaitable<void> Session::stream(bool follow) {
    const Seat seat(service_.streams, service_.limits.streams);
    auto backend = std::make_shared<Backend>(stream_.get_executor());
    Status asked = fail("too many streams at once; try again");
    if (seat)
        asked = co_await backend->ask(service_.socket, line_of(events_question(follow)), service_.limits.answer);
    if (!asked) {
        co_await write(refused(503, asked.error().message()), false);
        co_return;
    }
    http::response<http::empty_body> head{http::status::ok, 11};
    head.set(http::field::content_type, "application/x-ndjson");
    head.chunked(true);
    head.keep_alive(false);
    http::response_serializer<http::empty_body> serializer{head};
    error_code error;
    stream_.next_layer().expires_after(service_.limits.write);
    co_await http::async_write_header(stream_, serializer, into(error));
    service_.counters.answers[200]++;
    if (error)
        co_return;
    if (follow) {
        following_ = backend;
        stream_.next_layer().expires_never();
        asio::co_spawn(
            stream_.get_executor(), [self = shared_from_this(), backend] { return self->watch_for_end(backend); },
            asio::detached);
    }
    const bool whole = co_await stream_lines(*backend, follow);
    if (whole)
        co_await asio::async_write(stream_, http::make_chunk_last(), into(error));
    if (whole && !error && !follow)
        co_await say_goodbye();
    close();
    following_.reset();
}

// True: penstockd said that this was all.
asio::awaitable<bool> Session::stream_lines(Backend& backend, bool follow) {
    for (;;) {
        auto line = co_await backend.line(follow ? kForever : service_.limits.answer);
        if (!line)
            co_return false;
        if (nlohmann::json::parse(*line, nullptr, false).contains("ok"))
            co_return true;
        *line += '\n';
        error_code error;
        stream_.next_layer().expires_after(service_.limits.write);
        co_await asio::async_write(stream_, http::make_chunk(asio::buffer(*line)), into(error));
        if (error)
            co_return false;
        stream_.next_layer().expires_never();
    }
}

// A follower has nothing more to say: whatever comes is the end.
asio::awaitable<void> Session::watch_for_end(std::shared_ptr<Backend> backend) {
    std::array<char, 64> ignored{};
    error_code error;
    co_await stream_.async_read_some(asio::buffer(ignored), into(error));
    backend->close();
}

asio::awaitable<bool> Session::write(Answer answer, bool keep) {
    if (answer.code == 0)
        co_return false;
    service_.counters.answers[answer.code]++;
    keep = keep && !answer.unread && !retired_;
    http::response<http::string_body> response{static_cast<http::status>(answer.code), 11};
    response.set(http::field::content_type, answer.type);
    if (!answer.allow.empty())
        response.set(http::field::allow, answer.allow);
    if (answer.code == 503)
        response.set(http::field::retry_after, "2");
    response.keep_alive(keep);
    response.body() = std::move(answer.body);
    response.prepare_payload();
    error_code error;
    stream_.next_layer().expires_after(service_.limits.write);
    co_await http::async_write(stream_, response, into(error));
    if (error || keep)
        co_return !error;
    if (answer.unread)
        co_await drain();
    else
        co_await say_goodbye();
    co_return false;
}

// A connection that is closed with bytes unread takes the answer with it.
asio::awaitable<void> Session::drain() {
    error_code error;
    const auto piece = std::make_unique<std::array<char, kPiece>>();
    stream_.next_layer().expires_after(kGoodbye);
    for (std::size_t drained = 0; !error && drained < kMaxDrained;)
        drained += co_await stream_.async_read_some(asio::buffer(*piece), into(error));
}

asio::awaitable<void> Session::say_goodbye() {
    error_code error;
    stream_.next_layer().expires_after(kGoodbye);
    co_await stream_.async_shutdown(into(error));
}

} // namespace penstock::api
