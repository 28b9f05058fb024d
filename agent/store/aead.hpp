// AES-256-GCM (NIST SP 800-38D) and HKDF with SHA-256 (RFC 5869), through OpenSSL's EVP. A nonce is for one message of
// one key: seal.hpp sees to it.
#pragma once

#include "agent/base/result.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace penstock::store {

// A secret of 32 bytes, wiped when it goes.
class Key {
public:
    static constexpr std::size_t kBytes = 32;

    static Result<Key> from_bytes(std::string_view bytes); // of any other length: an error
    static Result<Key> from_hex(std::string_view digits);  // 64 of them
    static Result<Key> random();
    Key(const Key&) = default;
    Key& operator=(const Key&) = default;
    ~Key();

    [[nodiscard]] std::string_view bytes() const { return {bytes_.data(), bytes_.size()}; }

private:
    Key() = default;
    std::array<char, kBytes> bytes_{};
};

// Wipes what a text held when it goes: for the forms that a secret takes on its way.
class Wipe {
public:
    explicit Wipe(std::string& secret) : secret_(secret) {}
    ~Wipe();
    Wipe(const Wipe&) = delete;
    Wipe& operator=(const Wipe&) = delete;

private:
    std::string& secret_;
};

inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kTagBytes = 16;

// The ciphertext, as long as the plaintext, and the tag behind it. An error if the nonce has not 12 bytes.
Result<std::string> encrypt(const Key& key, std::string_view nonce, std::string_view associated,
                            std::string_view plaintext);
// EBADMSG: not authentic, whatever of it was changed; nothing of the plaintext is given away then.
Result<std::string> decrypt(const Key& key, std::string_view nonce, std::string_view associated,
                            std::string_view ciphertext);

// HKDF-SHA256, extract and expand. size: bytes wanted, at most 255 * 32.
Result<std::string> derive(const Key& key, std::string_view salt, std::string_view info, std::size_t size);

Result<std::string> random_bytes(std::size_t size);
std::string sha256(std::string_view bytes); // 32 bytes (FIPS 180-4)

} // namespace penstock::store
