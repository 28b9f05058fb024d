#include "agent/setup/request.hpp"

#include "agent/base/ip.hpp"
#include "policy/text.hpp"

#include <memory>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace penstock::setup {
namespace {

struct Free {
    void operator()(BIO* bio) const { BIO_free(bio); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509_REQ* request) const { X509_REQ_free(request); }
    void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
    void operator()(STACK_OF(X509_EXTENSION) * list) const { sk_X509_EXTENSION_free(list); }
};
template <class T> using Owned = std::unique_ptr<T, Free>;

std::string text_of(BIO* bio) {
    char* data = nullptr;
    const auto size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

// As libcharon reads an identity of this form.
std::string alternative_name(const std::string& id) {
    const auto at = id.find('@');
    if (IpAddress::parse(id))
        return "IP:" + id;
    return at == std::string::npos || at == 0 ? "DNS:" + id.substr(at == 0 ? 1 : 0) : "email:" + id;
}

bool fill(X509_REQ* request, EVP_PKEY* key, const std::string& id) {
    auto* name = X509_REQ_get_subject_name(request);
    const auto* bytes = reinterpret_cast<const unsigned char*>(id.data());
    const Owned<X509_EXTENSION> extension(
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, alternative_name(id).c_str()));
    const Owned<STACK_OF(X509_EXTENSION)> list(sk_X509_EXTENSION_new_null());
    return extension && list && sk_X509_EXTENSION_push(list.get(), extension.get()) > 0 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, bytes, static_cast<int>(id.size()), -1, 0) == 1 &&
           X509_REQ_add_extensions(request, list.get()) == 1 && X509_REQ_set_pubkey(request, key) == 1 &&
           X509_REQ_sign(request, key, EVP_sha384()) > 0;
}

} // namespace

Result<policy::Secret> make_key() {
    const Owned<EVP_PKEY> key(EVP_EC_gen("P-384"));
    const Owned<BIO> bio(BIO_new(BIO_s_secmem()));
    if (!key || !bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
        return fail("cannot make a key: OpenSSL fails");
    return policy::Secret(text_of(bio.get()));
}

Result<std::string> make_request(const policy::Secret& key, const std::string& id) {
    constexpr std::size_t kLongestCommonName = 64;
    if (id.empty() || id.find('=') != std::string::npos || id.find(',') != std::string::npos ||
        id.size() > kLongestCommonName)
        return fail("cannot make a certificate request for " + policy::quote(id) +
                    "; bring a certificate that names it, and its key");
    const Owned<BIO> in(BIO_new_mem_buf(key.text.data(), static_cast<int>(key.text.size())));
    const Owned<EVP_PKEY> parsed(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
    if (!parsed)
        return fail("this is no private key in PEM");
    const Owned<X509_REQ> request(X509_REQ_new());
    const Owned<BIO> out(BIO_new(BIO_s_mem()));
    if (!request || !out || !fill(request.get(), parsed.get(), id) ||
        PEM_write_bio_X509_REQ(out.get(), request.get()) != 1)
        return fail("cannot make a certificate request for " + policy::quote(id) + ": OpenSSL fails");
    return text_of(out.get());
}

} // namespace penstock::setup
