// A web server over TLS on the loopback that answers each request as a case wants it: with what, how slowly, cut where.
// And a proxy that knows CONNECT. With certificates of a CA of their own.
#pragma once

#include <utility> // Boost 1.74 forgets it

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <vector>

namespace penstock::test {

// A CA, and what it issues: files NAME.pem and NAME.key in the folder.
class TestCa {
public:
    TestCa(std::filesystem::path folder, const std::string& name) : folder_(std::move(folder)), name_(name) {
        key_ = EVP_EC_gen("P-256");
        certificate_ = make(name, key_, "CA:TRUE", "", nullptr);
        write(name, certificate_, key_);
    }
    TestCa(const TestCa&) = delete;
    TestCa& operator=(const TestCa&) = delete;
    ~TestCa() {
        X509_free(certificate_);
        EVP_PKEY_free(key_);
    }
    void issue(const std::string& name, const std::string& alternatives) const {
        EVP_PKEY* key = EVP_EC_gen("P-256");
        X509* one = make(name, key, "CA:FALSE", alternatives, certificate_);
        write(name, one, key);
        X509_free(one);
        EVP_PKEY_free(key);
    }
    [[nodiscard]] std::filesystem::path certificate() const { return folder_ / (name_ + ".pem"); }

private:
    X509* make(const std::string& name, EVP_PKEY* key, const char* basic, const std::string& alternatives,
               X509* issuer) const {
        static std::atomic<long> serial = 1;
        X509* out = X509_new();
        X509_set_version(out, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(out), serial++);
        X509_gmtime_adj(X509_getm_notBefore(out), -3600);
        X509_gmtime_adj(X509_getm_notAfter(out), 86400);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(out), "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
        X509_set_issuer_name(out, X509_get_subject_name(issuer != nullptr ? issuer : out));
        X509_set_pubkey(out, key);
        add(out, NID_basic_constraints, std::string("critical,") + basic);
        if (!alternatives.empty())
            add(out, NID_subject_alt_name, alternatives);
        X509_sign(out, key_, EVP_sha256());
        return out;
    }
    static void add(X509* to, int nid, const std::string& value) {
        X509_EXTENSION* one = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
        X509_add_ext(to, one, -1);
        X509_EXTENSION_free(one);
    }
    void write(const std::string& name, X509* certificate, EVP_PKEY* key) const {
        const auto pem = folder_ / (name + ".pem"), secret = folder_ / (name + ".key");
        std::FILE* file = std::fopen(pem.c_str(), "we");
        PEM_write_X509(file, certificate);
        std::fclose(file);
        file = std::fopen(secret.c_str(), "we");
        PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
        std::fclose(file);
        chmod(pem.c_str(), 0644);
        chmod(secret.c_str(), 0600);
    }

    std::filesystem::path folder_;
    std::string name_;
    EVP_PKEY* key_ = nullptr;
    X509* certificate_ = nullptr;
};

// Waits for connections to the loopback, and serves one after the other.
class Listener {
public:
    using Tcp = boost::asio::ip::tcp;
    Listener() : acceptor_(io_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)) {}
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    [[nodiscard]] std::string port() const { return std::to_string(acceptor_.local_endpoint().port()); }

protected:
    ~Listener() = default;
    void start(std::function<void(Tcp::socket)> serve) {
        thread_ = std::thread([this, serve = std::move(serve)] {
            while (!stop_) {
                pollfd one{.fd = acceptor_.native_handle(), .events = POLLIN, .revents = 0};
                if (poll(&one, 1, 20) <= 0)
                    continue;
                boost::system::error_code error;
                auto socket = acceptor_.accept(error);
                if (!error)
                    serve(std::move(socket));
            }
        });
    }
    void stop() {
        stop_ = true;
        if (thread_.joinable())
            thread_.join();
    }
    boost::asio::io_context io_;

private:
    Tcp::acceptor acceptor_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

class HttpsServer : public Listener {
public:
    struct Reply {
        std::string bytes;     // header and body, as they go over the wire
        bool cut = false;      // the connection ends there, without a goodbye
        int silent_ms = 0;     // after the bytes, before the end
        std::string late = {}; // after the silence
    };
    using Handler = std::function<Reply(const std::string& request)>;

    // The certificate and key NAME of the folder; clients: the CA whose certificates they must have, or empty.
    HttpsServer(const std::filesystem::path& folder, const std::string& name, Handler handler,
                const std::filesystem::path& clients = {})
        : tls_(boost::asio::ssl::context::tls_server), handler_(std::move(handler)) {
        tls_.use_certificate_chain_file((folder / (name + ".pem")).string());
        tls_.use_private_key_file((folder / (name + ".key")).string(), boost::asio::ssl::context::pem);
        if (!clients.empty()) {
            tls_.load_verify_file(clients.string());
            tls_.set_verify_mode(boost::asio::ssl::verify_peer | boost::asio::ssl::verify_fail_if_no_peer_cert);
        }
        start([this](Tcp::socket socket) { serve(std::move(socket)); });
    }
    ~HttpsServer() { stop(); }

    [[nodiscard]] std::string url(const std::string& path = "/gw.bundle") const {
        return "https://localhost:" + port() + path;
    }
    [[nodiscard]] std::vector<std::string> requests() const {
        const std::scoped_lock lock(mutex_);
        return requests_;
    }
    void handle(Handler handler) {
        const std::scoped_lock lock(mutex_);
        handler_ = std::move(handler);
    }
    [[nodiscard]] boost::asio::ssl::context& tls() { return tls_; }

private:
    void serve(Tcp::socket socket) {
        boost::system::error_code error;
        boost::asio::ssl::stream<Tcp::socket> stream(std::move(socket), tls_);
        stream.handshake(boost::asio::ssl::stream_base::server, error);
        std::string request;
        if (!error)
            boost::asio::read_until(stream, boost::asio::dynamic_buffer(request), "\r\n\r\n", error);
        if (error)
            return;
        Handler handler;
        {
            const std::scoped_lock lock(mutex_);
            requests_.push_back(request);
            handler = handler_;
        }
        const auto reply = handler(request);
        boost::asio::write(stream, boost::asio::buffer(reply.bytes), error);
        if (reply.silent_ms != 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(reply.silent_ms));
        if (!reply.late.empty())
            boost::asio::write(stream, boost::asio::buffer(reply.late), error);
        if (!reply.cut)
            stream.shutdown(error);
    }

    boost::asio::ssl::context tls_;
    mutable std::mutex mutex_;
    Handler handler_;
    std::vector<std::string> requests_;
};

// Passes on what follows a CONNECT.
class ConnectProxy : public Listener {
public:
    ConnectProxy() {
        start([this](Tcp::socket socket) { serve(std::move(socket)); });
    }
    ~ConnectProxy() { stop(); }
    [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + port(); }
    [[nodiscard]] std::string first_line() const {
        const std::scoped_lock lock(mutex_);
        return first_line_;
    }

private:
    void serve(Tcp::socket client) {
        boost::system::error_code error;
        std::string request;
        boost::asio::read_until(client, boost::asio::dynamic_buffer(request), "\r\n\r\n", error);
        const auto line = request.substr(0, request.find('\r'));
        {
            const std::scoped_lock lock(mutex_);
            first_line_ = line;
        }
        const auto colon = line.find(':');
        if (error || !line.starts_with("CONNECT ") || colon == std::string::npos)
            return;
        Tcp::socket server(io_);
        const auto to = static_cast<std::uint16_t>(std::stoi(line.substr(colon + 1)));
        server.connect({boost::asio::ip::address_v4::loopback(), to}, error);
        boost::asio::write(client, boost::asio::buffer(std::string("HTTP/1.1 200 Go on\r\nETag: \"proxy\"\r\n\r\n")),
                           error);
        std::array<pollfd, 2> both{pollfd{client.native_handle(), POLLIN, 0}, {server.native_handle(), POLLIN, 0}};
        std::array<char, 16384> piece{};
        while (!error && poll(both.data(), both.size(), 5000) > 0)
            for (const bool to_server : {true, false}) {
                if (both.at(to_server ? 0 : 1).revents == 0 || error)
                    continue;
                const auto got = (to_server ? client : server).read_some(boost::asio::buffer(piece), error);
                if (!error)
                    boost::asio::write(to_server ? server : client, boost::asio::buffer(piece, got), error);
            }
    }

    mutable std::mutex mutex_;
    std::string first_line_;
};

} // namespace penstock::test
