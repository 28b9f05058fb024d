#include "policy/bundle/key.hpp"

#include "agent/base/file.hpp"
#include "policy/bundle/encoding.hpp"
#include "policy/bundle/signature.hpp"
#include "policy/limits.hpp"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include <array>
#include <sys/stat.h>

namespace penstock::policy {
namespace {

using namespace std::string_view_literals;

// RFC 8410, RFC 5480: what stands before the 32 bytes of an Ed25519 key, and before 04 || X || Y of a P-256 key.
constexpr auto kEd25519Prefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"sv;
constexpr auto kP256Prefix =
    "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
    "\x03\x42\x00\x04"sv;

struct FreeBio {
    void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string_view content(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, size > 0 ? static_cast<std::size_t>(size) : 0};
}

KeyHandle hold(EVP_PKEY* key) {
    ERR_clear_error(); // a queued error would surface in somebody else's call
    return key == nullptr ? KeyHandle() : KeyHandle(key, FreeKey());
}

int no_passphrase(char*, int, int, void*) { return -1; }

int give_passphrase(char* buffer, int size, int, void* passphrase) {
    const std::string& text = static_cast<const Secret*>(passphrase)->text;
    if (size < 0 || text.size() > static_cast<std::size_t>(size))
        return -1;
    text.copy(buffer, text.size());
    return static_cast<int>(text.size());
}

// 16 MiB and a few tenths of a second for each guess; OpenSSL reads no more than 32 MiB.
constexpr int kSaltBytes = 16;
constexpr std::uint64_t kScryptN = 1U << 14, kScryptR = 8, kScryptP = 5;

struct FreePkcs8 {
    void operator()(PKCS8_PRIV_KEY_INFO* key) const { PKCS8_PRIV_KEY_INFO_free(key); }
    void operator()(X509_ALGOR* scheme) const { X509_ALGOR_free(scheme); }
    void operator()(X509_SIG* encrypted) const { X509_SIG_free(encrypted); }
};
using Pkcs8 = std::unique_ptr<PKCS8_PRIV_KEY_INFO, FreePkcs8>;
using Algorithm = std::unique_ptr<X509_ALGOR, FreePkcs8>;
using EncryptedKey = std::unique_ptr<X509_SIG, FreePkcs8>;

const EVP_MD* digest(KeyType type) { return type == KeyType::p256 ? EVP_sha256() : nullptr; }

} // namespace

void FreeKey::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

Secret::Secret(Secret&& other) noexcept : text(std::move(other.text)) {
    OPENSSL_cleanse(other.text.data(), other.text.size()); // short texts are copied by a move
    other.text.clear();
}
Secret::~Secret() { OPENSSL_cleanse(text.data(), text.size()); }

std::string_view key_type_name(KeyType type) { return type == KeyType::ed25519 ? "ed25519" : "p256"; }

std::optional<KeyType> key_type_from_name(std::string_view name) {
    if (name == "ed25519")
        return KeyType::ed25519;
    if (name == "p256")
        return KeyType::p256;
    return std::nullopt;
}

Result<PublicKey> PublicKey::from_handle(const KeyHandle& handle) {
    unsigned char* encoded = nullptr;
    const int size = i2d_PUBKEY(handle.get(), &encoded);
    if (size <= 0)
        return fail("the public key cannot be encoded");
    const std::string der(reinterpret_cast<char*>(encoded), static_cast<std::size_t>(size));
    OPENSSL_free(encoded);
    return from_der(der);
}

Result<PublicKey> PublicKey::from_der(std::string_view der) {
    PublicKey key;
    if (der.size() == kEd25519Prefix.size() + 32 && der.starts_with(kEd25519Prefix))
        key.type_ = KeyType::ed25519;
    else if (der.size() == kP256Prefix.size() + 64 && der.starts_with(kP256Prefix))
        key.type_ = KeyType::p256;
    else
        return fail("is not an Ed25519 or uncompressed P-256 public key");
    const unsigned char* at = bytes(der);
    key.handle_ = hold(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())));
    if (!key.handle_)
        return fail("is not a valid public key");
    key.der_ = der;
    key.id_ = sha256_hex(der);
    return key;
}

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
    const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    const auto handle = hold(PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr));
    if (!handle)
        return fail("is not a public key in PEM (-----BEGIN PUBLIC KEY-----)");
    return from_handle(handle);
}

Result<PublicKey> PublicKey::from_point(KeyType type, std::string_view point) {
    if (type == KeyType::ed25519)
        return from_der(std::string(kEd25519Prefix).append(point));
    if (!point.starts_with('\x04'))
        return fail("is not an uncompressed P-256 public key");
    return from_der(std::string(kP256Prefix).append(point.substr(1)));
}

std::string PublicKey::pem() const {
    const Bio bio(BIO_new(BIO_s_mem()));
    if (!bio || PEM_write_bio_PUBKEY(bio.get(), handle_.get()) != 1)
        return {};
    return std::string(content(bio.get()));
}

bool PublicKey::verify(std::string_view message, std::string_view signature) const {
    const Context context(EVP_MD_CTX_new());
    const bool ok =
        context && is_canonical_signature(type_, signature) &&
        EVP_DigestVerifyInit(context.get(), nullptr, digest(type_), nullptr, handle_.get()) == 1 &&
        EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(message), message.size()) == 1;
    ERR_clear_error();
    return ok;
}

Result<PrivateKey> PrivateKey::from_handle(KeyHandle handle) {
    PrivateKey key;
    auto shared = PublicKey::from_handle(handle);
    if (!shared)
        return tl::unexpected(shared.error());
    key.handle_ = std::move(handle);
    key.public_ = std::move(*shared);
    return key;
}

Result<PrivateKey> PrivateKey::generate(KeyType type) {
    auto handle = hold(type == KeyType::ed25519 ? EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519") : EVP_EC_gen("P-256"));
    return handle ? from_handle(std::move(handle)) : fail("OpenSSL cannot make a key of this type");
}

Result<PrivateKey> PrivateKey::from_pem(const Secret& pem, const AskPassphrase& ask) {
    const Bio bio(BIO_new_mem_buf(pem.text.data(), static_cast<int>(pem.text.size())));
    if (pem.text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----") == pem.text.npos) {
        auto handle = hold(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
        if (!handle)
            return fail("is not a private key in PEM (-----BEGIN PRIVATE KEY-----)");
        return from_handle(std::move(handle));
    }
    if (!ask)
        return fail("is encrypted, and nobody can be asked for its passphrase");
    auto passphrase = ask();
    if (!passphrase)
        return tl::unexpected(passphrase.error());
    auto handle = hold(PEM_read_bio_PrivateKey(bio.get(), nullptr, give_passphrase, &*passphrase));
    if (!handle)
        return fail("cannot be decrypted: the passphrase is wrong, or the file is damaged");
    return from_handle(std::move(handle));
}

Result<Secret> PrivateKey::pem() const {
    const Bio bio(BIO_new(BIO_s_secmem()));
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), handle_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
        return fail("the private key cannot be encoded");
    return Secret(std::string(content(bio.get())));
}

Result<Secret> PrivateKey::encrypted_pem(const Secret& passphrase) const {
    const Pkcs8 plain(EVP_PKEY2PKCS8(handle_.get()));
    Algorithm scheme(
        PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), nullptr, kSaltBytes, nullptr, kScryptN, kScryptR, kScryptP));
    EncryptedKey encrypted;
    if (plain && scheme)
        encrypted.reset(PKCS8_set0_pbe(passphrase.text.data(), static_cast<int>(passphrase.text.size()), plain.get(),
                                       scheme.get()));
    if (encrypted) [[maybe_unused]]
        const auto* given = scheme.release(); // encrypted has it now
    const Bio bio(BIO_new(BIO_s_mem()));
    const bool ok = encrypted && bio && PEM_write_bio_PKCS8(bio.get(), encrypted.get()) == 1;
    ERR_clear_error();
    return ok ? Result<Secret>(Secret(std::string(content(bio.get())))) : fail("the private key cannot be encrypted");
}

Result<std::string> PrivateKey::sign(std::string_view message) const {
    std::array<unsigned char, 256> signature{};
    std::size_t size = signature.size();
    const Context context(EVP_MD_CTX_new());
    const bool ok = context &&
                    EVP_DigestSignInit(context.get(), nullptr, digest(public_.type()), nullptr, handle_.get()) == 1 &&
                    EVP_DigestSign(context.get(), signature.data(), &size, bytes(message), message.size()) == 1;
    ERR_clear_error();
    auto canonical = ok ? canonical_signature(public_.type(), {reinterpret_cast<const char*>(signature.data()), size})
                        : std::nullopt;
    if (!canonical)
        return fail("OpenSSL cannot sign with this key");
    return std::move(*canonical);
}

Result<PrivateKey> load_private_key(const std::string& path, const AskPassphrase& ask) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0)
        return fail_errno("cannot read " + path);
    if ((info.st_mode & 077) != 0)
        return fail(path + ": a private key that others can read is no secret; run: chmod 600 " + path);
    auto text = read_file(path, kMaxKeyBytes.value);
    if (!text)
        return tl::unexpected(text.error());
    auto key = PrivateKey::from_pem(Secret(std::move(*text)), ask);
    return key ? std::move(key) : fail(path + " " + key.error().message());
}

Result<PublicKey> load_public_key(const std::string& path) {
    const auto text = read_file(path, kMaxKeyBytes.value);
    if (!text)
        return tl::unexpected(text.error());
    auto key = PublicKey::from_pem(*text);
    return key ? std::move(key) : fail(path + " " + key.error().message());
}

} // namespace penstock::policy
