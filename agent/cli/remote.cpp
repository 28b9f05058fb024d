#include "agent/cli/remote.hpp"

#include "agent/base/file.hpp"
#include "agent/base/ip.hpp"
#include "agent/cli/passphrase.hpp"
#include "policy/text.hpp"

#include <utility> // Boost 1.74 forgets it

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace penstock::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Context = asio::ssl::context;
using Json = nlohmann::json;

constexpr std::size_t kPiece = 64U << 10;
constexpr std::size_t kMaxPem = 1U << 20;
constexpr std::uint64_t kMaxAnswer = 64U << 20;
constexpr std::chrono::seconds kConnect{15}, kWrite{60}, kAnswer{1200};

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

Status load_certificate(const Remote& remote, Context& context) {
    error_code error;
    const auto certificate = read_file(remote.certificate, kMaxPem);
    if (!certificate)
        return tl::unexpected(certificate.error());
    context.use_certificate_chain(asio::buffer(*certificate), error);
    if (error)
        return fail(remote.certificate + " holds no X.509 certificate (PEM)");
    const auto ca = read_file(remote.ca, kMaxPem);
    if (!ca)
        return tl::unexpected(ca.error());
    context.add_certificate_authority(asio::buffer(*ca), error);
    if (error)
        return fail(remote.ca + " holds no certificate of a CA (PEM)");
    return {};
}

Status load_key(const Remote& remote, Context& context) {
    error_code error;
    auto key = read_guarded(remote.key, kMaxPem, true);
    if (!key)
        return tl::unexpected(key.error());
    const policy::Secret secret(std::move(*key)); // wiped
    std::optional<Error> refused;
    context.set_password_callback(
        [&](std::size_t, auto) {
            auto passphrase = ask_passphrase("Passphrase of " + remote.key + ": ");
            if (!passphrase)
                refused = passphrase.error();
            return passphrase ? passphrase->text : std::string();
        },
        error);
    context.use_private_key(asio::buffer(secret.text), Context::pem, error);
    const bool mismatch =
        error && ERR_GET_REASON(static_cast<unsigned long>(error.value())) == X509_R_KEY_VALUES_MISMATCH;
    ERR_clear_error();
    if (refused)
        return tl::unexpected(*refused);
    if (mismatch)
        return fail("private key " + remote.key + " does not belong to certificate " + remote.certificate);
    if (error)
        return fail(remote.key + " holds no private key that can be used (PEM)");
    return {};
}

// What the other side says of our certificate, as the alerts of TLS 1.3 say it.
std::string alert(const Remote& remote, const error_code& error) {
    if (error.category() != asio::error::get_ssl_category())
        return "";
    const auto& own = remote.certificate;
    switch (ERR_GET_REASON(static_cast<unsigned long>(error.value()))) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
        return "the gateway says that " + own + " is revoked; ask for a new certificate";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "the gateway says that " + own +
               " has expired, or is not valid yet; ask for a new one, or look at its clock";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return "the gateway does not know the CA of " + own +
               "; use a certificate of a CA that its [api] ca lists (with CRLs: "
               "one whose CA has a current CRL there)";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return "the gateway refuses " + own + "; it must be a client's certificate of a CA that its [api] ca lists";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the gateway wants a certificate of another CA than that of " + own;
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "no TLS 1.3 at the other end; is that penstock-api?";
    case SSL_R_WRONG_VERSION_NUMBER:
        return "no TLS at the other end; is that penstock-api?";
    default:
        return "";
    }
}

std::string target_of(const PushTerms& terms) {
    std::string out = "/v1/bundles";
    if (terms.dry_run)
        out += "?dry_run=true";
    if (terms.wait != 0)
        out += (terms.dry_run ? "&" : "?") + ("wait_healthy=" + std::to_string(terms.wait));
    for (const auto& probe : terms.probes)
        out += "&probe=" + probe;
    return out;
}

// One connection, one question.
class Exchange {
public:
    Exchange(const Remote& remote, HostPort place, asio::io_context& io, Context& context)
        : remote_(remote), place_(std::move(place)), stream_(io, context) {}

    asio::awaitable<Result<Json>> get(std::string target) {
        auto ok = co_await connect();
        if (ok)
            ok = co_await handshake();
        if (!ok)
            co_return tl::unexpected(ok.error());
        co_await announce(http::verb::get, target, 0);
        error_code error;
        Parser answer;
        co_await read_header(answer, error);
        if (!error)
            co_await http::async_read(stream_, buffer_, answer, into(error));
        if (error)
            co_return failed("no answer", error);
        co_return judge(answer.get());
    }

    asio::awaitable<Result<Json>> push(std::string_view bundle, std::string target, const Progress& progress) {
        auto ok = co_await connect();
        if (ok)
            ok = co_await handshake();
        if (!ok)
            co_return tl::unexpected(ok.error());
        co_await announce(http::verb::post, target, bundle.size());
        error_code error;
        auto answer = std::make_unique<Parser>();
        co_await read_header(*answer, error);
        if (!error && answer->get().result() == http::status::continue_) {
            co_await send(bundle, progress);
            answer = std::make_unique<Parser>();
            co_await read_header(*answer, error);
        }
        if (!error)
            co_await http::async_read(stream_, buffer_, *answer, into(error));
        if (error)
            co_return failed("no answer", error);
        co_return judge(answer->get());
    }

private:
    using Parser = http::response_parser<http::string_body>;

    asio::awaitable<Status> connect() {
        error_code error;
        tcp::resolver resolver(stream_.get_executor());
        const auto found = co_await resolver.async_resolve(place_.host, place_.port, into(error));
        if (error)
            co_return fail("cannot find " + policy::quote(place_.host) + ": " + error.message());
        lowest().expires_after(kConnect);
        co_await lowest().async_connect(found, into(error));
        if (error == asio::error::connection_refused)
            co_return fail("nobody listens on " + remote_.to +
                           "; does penstock-api run there, with that address in [api] listen?");
        if (error == beast::error::timeout)
            co_return fail(
                remote_.to +
                " does not answer; its address, or a firewall, or an [[essential]] service = \"api\" that is missing there?");
        if (error)
            co_return fail("cannot reach " + remote_.to + ": " + error.message());
        co_return Status{};
    }

    // The certificate must name the host, or the address, that we were told.
    asio::awaitable<Status> handshake() {
        error_code error;
        auto* ssl = stream_.native_handle();
        if (IpAddress::parse(place_.host)) {
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), place_.host.c_str());
        } else {
            SSL_set1_host(ssl, place_.host.c_str());
            SSL_set_tlsext_host_name(ssl, place_.host.c_str());
        }
        lowest().expires_after(kConnect);
        co_await stream_.async_handshake(asio::ssl::stream_base::client, into(error));
        if (!error)
            co_return Status{};
        if (const auto verified = SSL_get_verify_result(ssl); verified != X509_V_OK)
            co_return fail("the certificate of " + remote_.to +
                           " is not trusted: " + X509_verify_cert_error_string(verified) +
                           "; is it the right gateway, and " + remote_.ca + " its CA?");
        co_return failed("no TLS", error);
    }

    // What keeps this from arriving is read afterwards: in TLS 1.3 the other side looks at our certificate only now.
    // size: bytes that follow.
    asio::awaitable<void> announce(http::verb verb, const std::string& target, std::size_t size) {
        http::request<http::empty_body> request{verb, target, 11};
        request.set(http::field::host, remote_.to);
        request.set(http::field::user_agent, "penstock/" PENSTOCK_VERSION);
        if (size != 0) {
            request.set(http::field::content_type, "application/json");
            request.set(http::field::expect, "100-continue");
            request.content_length(size);
        }
        request.keep_alive(false);
        http::request_serializer<http::empty_body> serializer{request};
        error_code error;
        lowest().expires_after(kWrite);
        co_await http::async_write_header(stream_, serializer, into(error));
    }

    // A refusal may come before all is sent; then that is the answer.
    asio::awaitable<void> send(std::string_view bundle, const Progress& progress) {
        error_code error;
        for (std::size_t sent = 0; sent < bundle.size() && !error;) {
            const auto piece = bundle.substr(sent, kPiece);
            lowest().expires_after(kWrite);
            co_await asio::async_write(stream_, asio::buffer(piece), into(error));
            progress(sent += piece.size());
        }
    }

    asio::awaitable<void> read_header(Parser& parser, error_code& error) {
        parser.body_limit(kMaxAnswer);
        lowest().expires_after(kAnswer);
        co_await http::async_read_header(stream_, buffer_, parser, into(error));
    }

    Result<Json> judge(const http::response<http::string_body>& answer) const {
        auto out = Json::parse(answer.body(), nullptr, false);
        if (!out.is_object() || !out.contains("ok"))
            return fail(remote_.to + " answered " + std::to_string(answer.result_int()) +
                        " with something that is not penstock-api's");
        return out;
    }

    [[nodiscard]] tl::unexpected<Error> failed(const char* what, const error_code& error) const {
        const auto why = alert(remote_, error);
        if (error == beast::error::timeout)
            return fail(std::string(what) + " from " + remote_.to + " in time");
        return fail(why.empty() ? std::string(what) + " from " + remote_.to + ": " + error.message() : why);
    }
    beast::tcp_stream& lowest() { return stream_.next_layer(); }

    const Remote& remote_;
    HostPort place_;
    beast::ssl_stream<beast::tcp_stream> stream_;
    beast::flat_buffer buffer_;
};

} // namespace

Result<HostPort> HostPort::parse(const std::string& text) {
    const auto colon = text.rfind(':');
    HostPort out;
    if (colon != std::string::npos) {
        out.host = text.substr(0, colon);
        out.port = text.substr(colon + 1);
    }
    if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']')
        out.host = out.host.substr(1, out.host.size() - 2);
    else if (out.host.find(':') != std::string::npos)
        out.host.clear();
    if (out.host.empty() || out.port.empty() || out.port.size() > 5 ||
        out.port.find_first_not_of("0123456789") != std::string::npos)
        return fail(policy::quote(text) + " is no HOST:PORT, such as gw-1.example:8443 or [2001:db8::2]:8443");
    return out;
}

struct RemoteGateway::State {
    Remote remote;
    HostPort place;
    Context context{Context::tls_client};

    template <typename Ask> Result<Json> exchange(const Ask& ask) {
        asio::io_context io(1);
        Exchange exchange(remote, place, io, context);
        Result<Json> out = fail("nothing was said");
        asio::co_spawn(io, ask(exchange), [&](const std::exception_ptr& thrown, Result<Json> result) {
            if (!thrown)
                out = std::move(result);
        });
        io.run();
        return out;
    }
};

RemoteGateway::RemoteGateway(std::unique_ptr<State> state) : state_(std::move(state)) {}
RemoteGateway::RemoteGateway(RemoteGateway&&) noexcept = default;
RemoteGateway::~RemoteGateway() = default;

Result<RemoteGateway> RemoteGateway::make(Remote remote) {
    auto place = HostPort::parse(remote.to);
    if (!place)
        return tl::unexpected(place.error());
    auto state = std::make_unique<State>(State{.remote = std::move(remote), .place = std::move(*place)});
    SSL_CTX_set_min_proto_version(state->context.native_handle(), TLS1_3_VERSION);
    state->context.set_verify_mode(asio::ssl::verify_peer);
    if (auto ok = load_certificate(state->remote, state->context); !ok)
        return tl::unexpected(ok.error());
    if (auto ok = load_key(state->remote, state->context); !ok)
        return tl::unexpected(ok.error());
    return RemoteGateway(std::move(state));
}

Result<Json> RemoteGateway::push(std::string_view bundle, const PushTerms& terms, const Progress& progress) const {
    return state_->exchange([&](Exchange& exchange) { return exchange.push(bundle, target_of(terms), progress); });
}

Result<Json> RemoteGateway::policy() const {
    auto answer = state_->exchange([](Exchange& exchange) { return exchange.get("/v1/policy"); });
    if (!answer)
        return answer;
    if (!answer->value("ok", false))
        return fail(answer->value("error", state_->remote.to + " refused without a reason"));
    return answer->value("policy", Json());
}

} // namespace penstock::cli
