#include "agent/core/credentials.hpp"

#include "agent/base/file.hpp"
#include "agent/ike/channel.h"

#include <memory>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace penstock::core {
namespace {

struct Free {
    void operator()(BIO* bio) const { BIO_free(bio); }
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <class T> using Owned = std::unique_ptr<T, Free>;

// Wiped when it goes: it may hold a private key.
struct Bytes {
    std::string text;
    ~Bytes() { OPENSSL_cleanse(text.data(), text.size()); }
    [[nodiscard]] Owned<BIO> bio() const {
        return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    }
    [[nodiscard]] bool pem() const { return text.find("-----BEGIN") != std::string::npos; }
};

Owned<X509> parse_certificate(const Bytes& bytes) {
    const auto bio = bytes.bio();
    return Owned<X509>(bytes.pem() ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)
                                   : d2i_X509_bio(bio.get(), nullptr));
}

// An encrypted key is none: nobody is there to type the passphrase.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

Owned<EVP_PKEY> parse_key(const Bytes& bytes) {
    const auto bio = bytes.bio();
    return Owned<EVP_PKEY>(bytes.pem() ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr)
                                       : d2i_PrivateKey_bio(bio.get(), nullptr));
}

policy::Time to_time(const ASN1_TIME* time) {
    std::tm parts{};
    if (ASN1_TIME_to_tm(time, &parts) != 1)
        return {};
    return policy::Time(std::chrono::seconds(timegm(&parts)));
}

// How libcharon reads an identity: with '=' it is a distinguished name, which is not looked at here.
bool names(X509* certificate, const std::string& id) {
    if (id.find('=') != std::string::npos)
        return true;
    if (IpAddress::parse(id))
        return X509_check_ip_asc(certificate, id.c_str(), 0) == 1;
    const auto at = id.find('@');
    if (at != std::string::npos && at != 0)
        return X509_check_email(certificate, id.c_str(), 0, 0) == 1;
    const auto host = id.substr(at == 0 ? 1 : 0);
    return X509_check_host(certificate, host.data(), host.size(), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
}

class Reader {
public:
    explicit Reader(Credentials& out) : out_(out) {}

    [[nodiscard]] bool read(const std::filesystem::path& path, bool secret, Bytes& bytes) {
        auto text = read_guarded(path, PIKE_MAX_CREDENTIAL, secret);
        if (!text)
            out_.problems.push_back(text.error().message());
        else
            bytes.text = std::move(*text);
        return text.has_value();
    }

    Owned<X509> certificate(const std::filesystem::path& path, bool ca) {
        Bytes bytes;
        if (!read(path, false, bytes))
            return nullptr;
        auto certificate = parse_certificate(bytes);
        if (!certificate) {
            out_.problems.push_back(path.string() + " holds no X.509 certificate (PEM or DER)");
            return nullptr;
        }
        out_.certificates.push_back({.path = path,
                                     .ca = ca,
                                     .not_before = to_time(X509_get0_notBefore(certificate.get())),
                                     .not_after = to_time(X509_get0_notAfter(certificate.get()))});
        return certificate;
    }

    Owned<EVP_PKEY> key(const std::filesystem::path& path) {
        Bytes bytes;
        if (!read(path, true, bytes))
            return nullptr;
        auto key = parse_key(bytes);
        if (!key)
            out_.problems.push_back(bytes.text.find("ENCRYPTED") != std::string::npos
                                        ? path.string() +
                                              " is encrypted, and nobody is there to type the passphrase; "
                                              "mend: openssl pkey -in " +
                                              path.string() + " -out NEW, then chmod 600 NEW"
                                        : path.string() + " holds no private key (PEM or DER)");
        return key;
    }

private:
    Credentials& out_;
};

} // namespace

Credentials read_credentials(const Config& config) {
    Credentials out;
    Reader reader(out);
    const auto own = reader.certificate(config.certificate, false);
    const auto key = reader.key(config.private_key);
    if (own && key && X509_check_private_key(own.get(), key.get()) != 1)
        out.problems.push_back("private key " + config.private_key.string() + " does not belong to certificate " +
                               config.certificate.string() + "; put the key there that the certificate was made for");
    if (own)
        for (const auto& tunnel : config.tunnels)
            if (!names(own.get(), tunnel.local_id))
                out.problems.push_back("certificate " + config.certificate.string() + " does not name " +
                                       policy::quote(tunnel.local_id) + ", the local_id of tunnel " + tunnel.name +
                                       ", as a subjectAltName; the peer would not believe it");
    for (const auto& path : config.ca) {
        const auto ca = reader.certificate(path, true);
        if (ca && X509_check_ca(ca.get()) == 0)
            out.problems.push_back(path.string() + " is not the certificate of a CA (basicConstraints)");
    }
    ERR_clear_error();
    return out;
}

std::vector<std::string> Credentials::problems_at(policy::Time now) const {
    std::vector<std::string> out;
    for (const auto& one : certificates) {
        const auto what = (one.ca ? "CA certificate " : "certificate ") + one.path.string();
        if (now > one.not_after)
            out.push_back(what + " expired at " + policy::format_time(one.not_after) +
                          "; put a new one there, it is taken over by itself");
        else if (now < one.not_before)
            out.push_back(what + " is not valid before " + policy::format_time(one.not_before) + ", and it is " +
                          policy::format_time(now) + "; set the clock if it is wrong");
    }
    return out;
}

} // namespace penstock::core
