// Signing keys: Ed25519 and ECDSA P-256 (SHA-256), through OpenSSL's EVP.
#pragma once

#include "agent/base/result.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct evp_pkey_st;

namespace penstock::policy {

enum class KeyType { ed25519, p256 };

std::string_view key_type_name(KeyType type); // "ed25519" or "p256"
std::optional<KeyType> key_type_from_name(std::string_view name);

// Text that is wiped when it goes.
struct Secret {
    std::string text;
    Secret() = default;
    explicit Secret(std::string value) : text(std::move(value)) {}
    Secret(Secret&& other) noexcept;
    Secret& operator=(Secret&&) = delete;
    ~Secret();
};

struct FreeKey {
    void operator()(evp_pkey_st* key) const;
};
using KeyHandle = std::shared_ptr<evp_pkey_st>;

class PublicKey {
public:
    // SubjectPublicKeyInfo in the one DER form that we write: no two ids can name the same key.
    static Result<PublicKey> from_der(std::string_view der);
    static Result<PublicKey> from_pem(std::string_view pem);
    // Ed25519: the 32 bytes of RFC 8032; P-256: 04 || X || Y.
    static Result<PublicKey> from_point(KeyType type, std::string_view point);

    [[nodiscard]] KeyType type() const { return type_; }
    [[nodiscard]] const std::string& id() const { return id_; } // SHA-256 of the DER, 64 hex digits
    [[nodiscard]] const std::string& der() const { return der_; }
    [[nodiscard]] std::string pem() const;
    // Only a signature in the form of signature.hpp.
    [[nodiscard]] bool verify(std::string_view message, std::string_view signature) const;

private:
    friend class PrivateKey;
    static Result<PublicKey> from_handle(const KeyHandle& handle);
    KeyHandle handle_;
    KeyType type_ = KeyType::ed25519;
    std::string der_;
    std::string id_;
};

// Called once, and only for a key that is encrypted.
using AskPassphrase = std::function<Result<Secret>()>;

class PrivateKey {
public:
    static Result<PrivateKey> generate(KeyType type);
    // PKCS#8 (RFC 5958). Without somebody to ask, an encrypted key is an error.
    static Result<PrivateKey> from_pem(const Secret& pem, const AskPassphrase& ask = {});

    [[nodiscard]] const PublicKey& public_key() const { return public_; }
    [[nodiscard]] Result<Secret> pem() const;
    // PBES2 (RFC 8018) with scrypt (RFC 7914) and AES-256-CBC.
    [[nodiscard]] Result<Secret> encrypted_pem(const Secret& passphrase) const;
    [[nodiscard]] Result<std::string> sign(std::string_view message) const; // in the form of signature.hpp

private:
    static Result<PrivateKey> from_handle(KeyHandle handle);
    KeyHandle handle_;
    PublicKey public_;
};

// Refuses a file that others can read.
Result<PrivateKey> load_private_key(const std::string& path, const AskPassphrase& ask = {});
Result<PublicKey> load_public_key(const std::string& path);

} // namespace penstock::policy
