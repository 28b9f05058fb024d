#include "agent/api/tls.hpp"

#include "agent/base/file.hpp"

#include <boost/asio/buffer.hpp>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace penstock::api {
namespace {

using Context = boost::asio::ssl::context;
using boost::system::error_code;

constexpr std::size_t kMaxPem = 1U << 20;
constexpr std::size_t kMaxCrl = 16U << 20;

// Wiped when it goes: it may hold a private key.
struct Bytes {
    std::string text;
    Bytes() = default;
    Bytes(const Bytes&) = delete;
    Bytes& operator=(const Bytes&) = delete;
    ~Bytes() { OPENSSL_cleanse(text.data(), text.size()); }
    [[nodiscard]] std::unique_ptr<BIO, decltype(&BIO_free)> bio() const {
        return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
    }
};

Status read(const std::filesystem::path& path, std::size_t limit, bool secret, Bytes& out) {
    auto text = read_guarded(path, limit, secret);
    if (!text)
        return tl::unexpected(text.error());
    out.text = std::move(*text);
    return {};
}

Status load_own(const core::ApiConfig& config, Context& context) {
    Bytes certificate, key;
    if (auto ok = read(config.certificate, kMaxPem, false, certificate); !ok)
        return ok;
    if (auto ok = read(config.private_key, kMaxPem, true, key); !ok)
        return ok;
    error_code error;
    context.use_certificate_chain(boost::asio::buffer(certificate.text), error);
    if (error)
        return fail(config.certificate.string() + " holds no X.509 certificate (PEM)");
    // Nobody is there to type a passphrase.
    context.set_password_callback([](auto, auto) { return std::string(); }, error);
    context.use_private_key(boost::asio::buffer(key.text), Context::pem, error);
    if (error && X509_get0_pubkey(SSL_CTX_get0_certificate(context.native_handle())) != nullptr &&
        ERR_GET_REASON(static_cast<unsigned long>(error.value())) == X509_R_KEY_VALUES_MISMATCH)
        return fail("private key " + config.private_key.string() + " does not belong to certificate " +
                    config.certificate.string());
    if (error)
        return fail(config.private_key.string() + " holds no private key that can be used (PEM, not encrypted)");
    return {};
}

Status load_authority(const std::filesystem::path& path, SSL_CTX* context) {
    Bytes bytes;
    if (auto ok = read(path, kMaxPem, false, bytes); !ok)
        return ok;
    const auto bio = bytes.bio();
    std::size_t found = 0;
    while (auto* ca = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
        const std::unique_ptr<X509, decltype(&X509_free)> owner(ca, &X509_free);
        if (X509_check_ca(ca) == 0)
            return fail(path.string() + " is not the certificate of a CA (basicConstraints)");
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca) != 1 || SSL_CTX_add_client_CA(context, ca) != 1)
            return fail("cannot take up the CA " + path.string());
        found++;
    }
    return found != 0 ? Status{} : fail(path.string() + " holds no X.509 certificate (PEM)");
}

Status load_crl(const std::filesystem::path& path, X509_STORE* store) {
    Bytes bytes;
    if (auto ok = read(path, kMaxCrl, false, bytes); !ok)
        return ok;
    const auto bio = bytes.bio();
    std::size_t found = 0;
    while (auto* crl = PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr)) {
        const std::unique_ptr<X509_CRL, decltype(&X509_CRL_free)> owner(crl, &X509_CRL_free);
        if (X509_STORE_add_crl(store, crl) != 1)
            return fail("cannot take up the CRL " + path.string());
        found++;
    }
    return found != 0 ? Status{} : fail(path.string() + " holds no CRL (PEM)");
}

void be_strict(const core::ApiConfig& config, SSL_CTX* context) {
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_verify_depth(context, 4);
    // A CA of the configuration is an anchor, whether it signed itself or not. With CRLs, every CA of a chain needs
    // one.
    auto* parameters = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
    if (!config.crl.empty())
        X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

} // namespace

Result<std::shared_ptr<Context>> load_tls(const core::ApiConfig& config) {
    auto context = std::make_shared<Context>(Context::tls_server);
    auto* native = context->native_handle();
    be_strict(config, native);
    auto ok = load_own(config, *context);
    for (const auto& path : config.ca)
        if (ok)
            ok = load_authority(path, native);
    for (const auto& path : config.crl)
        if (ok)
            ok = load_crl(path, SSL_CTX_get_cert_store(native));
    ERR_clear_error();
    if (!ok)
        return tl::unexpected(ok.error());
    return context;
}

FileWatch::Paths tls_files(const core::ApiConfig& config) {
    auto paths = config.ca;
    paths.insert(paths.end(), config.crl.begin(), config.crl.end());
    paths.push_back(config.certificate);
    paths.push_back(config.private_key);
    return paths;
}

} // namespace penstock::api
