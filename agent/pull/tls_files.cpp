#include "agent/pull/tls_files.hpp"

#include "agent/base/file.hpp"

#include <memory>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

namespace penstock::pull {
namespace {

constexpr std::size_t kMaxPem = 1U << 20;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio bio_of(const std::string& text) { return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free}; }

Certificate certificate_of(const std::string& text) {
    return {PEM_read_bio_X509(bio_of(text).get(), nullptr, nullptr, nullptr), &X509_free};
}

int no_passphrase(char*, int, int, void*) { return 0; } // nobody is there to type one

Key key_of(const std::string& text) {
    return {PEM_read_bio_PrivateKey(bio_of(text).get(), nullptr, &no_passphrase, nullptr), &EVP_PKEY_free};
}

Status read_own(const core::BundleConfig& config, TlsFiles& out) {
    auto certificate = read_guarded(config.certificate, kMaxPem);
    auto key = certificate ? read_guarded(config.private_key, kMaxPem, true) : tl::unexpected(certificate.error());
    if (!key)
        return tl::unexpected(key.error());
    out.certificate = std::move(*certificate);
    out.private_key = std::move(*key);
    const auto parsed = certificate_of(out.certificate);
    if (!parsed)
        return fail(config.certificate.string() + " holds no X.509 certificate (PEM)");
    const auto own = key_of(out.private_key);
    if (!own)
        return fail(config.private_key.string() + " holds no private key that can be used (PEM, not encrypted)");
    if (X509_check_private_key(parsed.get(), own.get()) != 1)
        return fail("private key " + config.private_key.string() + " does not belong to certificate " +
                    config.certificate.string());
    return {};
}

Status read_authorities(const core::BundleConfig& config, TlsFiles& out) {
    for (const auto& path : config.ca) {
        const auto text = read_guarded(path, kMaxPem);
        if (!text)
            return tl::unexpected(text.error());
        if (!certificate_of(*text))
            return fail(path.string() + " holds no X.509 certificate (PEM)");
        out.ca += *text + "\n";
    }
    return {};
}

} // namespace

TlsFiles::~TlsFiles() { OPENSSL_cleanse(private_key.data(), private_key.size()); }

Result<TlsFiles> TlsFiles::load(const core::BundleConfig& config) {
    TlsFiles out;
    auto ok = read_authorities(config, out);
    if (ok && !config.certificate.empty())
        ok = read_own(config, out);
    ERR_clear_error();
    if (!ok)
        return tl::unexpected(ok.error());
    return out;
}

} // namespace penstock::pull
