#include "agent/store/aead.hpp"

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <memory>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

namespace penstock::store {
namespace {

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* in(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
unsigned char* out(std::string& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

// OpenSSL counts in int.
Status check_sizes(std::string_view nonce, std::string_view associated, std::string_view text) {
    if (nonce.size() != kNonceBytes)
        return fail("a nonce has " + std::to_string(kNonceBytes) + " bytes, not " + std::to_string(nonce.size()));
    if (associated.size() > INT_MAX || text.size() > INT_MAX - kTagBytes)
        return fail("too much for one message", EFBIG);
    return {};
}

// Key, nonce and associated data; direction: 1 encrypts, 0 decrypts.
Result<Cipher> begin(const Key& key, std::string_view nonce, std::string_view associated, int direction) {
    Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
    int done = 0;
    if (!cipher ||
        EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, in(key.bytes()), in(nonce), direction) != 1 ||
        EVP_CipherUpdate(cipher.get(), nullptr, &done, in(associated), static_cast<int>(associated.size())) != 1)
        return fail("OpenSSL has no AES-256-GCM");
    return cipher;
}

} // namespace

Result<Key> Key::from_bytes(std::string_view bytes) {
    if (bytes.size() != kBytes)
        return fail("a key has " + std::to_string(kBytes) + " bytes, not " + std::to_string(bytes.size()));
    Key key;
    std::ranges::copy(bytes, key.bytes_.begin());
    return key;
}

Result<Key> Key::from_hex(std::string_view digits) {
    Key key;
    bool good = digits.size() == 2 * kBytes;
    for (std::size_t i = 0; good && i < kBytes; i++) {
        const char* const pair = digits.data() + 2 * i;
        unsigned char byte = 0;
        good = std::from_chars(pair, pair + 2, byte, 16).ptr == pair + 2;
        key.bytes_[i] = static_cast<char>(byte);
    }
    if (!good)
        return fail("a key is written as " + std::to_string(2 * kBytes) + " hex digits");
    return key;
}

Result<Key> Key::random() {
    Key key;
    if (RAND_bytes(reinterpret_cast<unsigned char*>(key.bytes_.data()), kBytes) != 1)
        return fail("no random bytes can be had");
    return key;
}

Key::~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Wipe::~Wipe() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

Result<std::string> encrypt(const Key& key, std::string_view nonce, std::string_view associated,
                            std::string_view plaintext) {
    if (auto ok = check_sizes(nonce, associated, plaintext); !ok)
        return tl::unexpected(ok.error());
    const auto cipher = begin(key, nonce, associated, 1);
    if (!cipher)
        return tl::unexpected(cipher.error());
    std::string ciphertext(plaintext.size() + kTagBytes, '\0');
    int done = 0, more = 0;
    if (EVP_EncryptUpdate(cipher->get(), out(ciphertext), &done, in(plaintext), static_cast<int>(plaintext.size())) !=
            1 ||
        EVP_EncryptFinal_ex(cipher->get(), out(ciphertext) + done, &more) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher->get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, out(ciphertext) + plaintext.size()) != 1)
        return fail("OpenSSL cannot encrypt");
    return ciphertext;
}

Result<std::string> decrypt(const Key& key, std::string_view nonce, std::string_view associated,
                            std::string_view ciphertext) {
    if (auto ok = check_sizes(nonce, associated, ciphertext); !ok)
        return tl::unexpected(ok.error());
    if (ciphertext.size() < kTagBytes)
        return fail("too short to be authentic", EBADMSG);
    const auto cipher = begin(key, nonce, associated, 0);
    if (!cipher)
        return tl::unexpected(cipher.error());
    const auto size = ciphertext.size() - kTagBytes;
    std::string plaintext(size, '\0'), tag(ciphertext.substr(size));
    int done = 0, more = 0;
    if (EVP_DecryptUpdate(cipher->get(), out(plaintext), &done, in(ciphertext), static_cast<int>(size)) == 1 &&
        EVP_CIPHER_CTX_ctrl(cipher->get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
        EVP_DecryptFinal_ex(cipher->get(), out(plaintext) + done, &more) == 1)
        return plaintext;
    OPENSSL_cleanse(plaintext.data(), plaintext.size());
    return fail("not authentic", EBADMSG);
}

Result<std::string> derive(const Key& key, std::string_view salt, std::string_view info, std::size_t size) {
    const std::unique_ptr<EVP_KDF, decltype(&EVP_KDF_free)> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr), EVP_KDF_free);
    const std::unique_ptr<EVP_KDF_CTX, decltype(&EVP_KDF_CTX_free)> context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr,
                                                                            EVP_KDF_CTX_free);
    char digest[] = "SHA256";
    const auto octets = [](const char* name, std::string_view bytes) {
        return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(bytes.data()), bytes.size());
    };
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                                 octets(OSSL_KDF_PARAM_KEY, key.bytes()), octets(OSSL_KDF_PARAM_SALT, salt),
                                 octets(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
    std::string derived(size, '\0');
    if (!context || EVP_KDF_derive(context.get(), out(derived), derived.size(), params) != 1)
        return fail("OpenSSL has no HKDF");
    return derived;
}

Result<std::string> random_bytes(std::size_t size) {
    std::string bytes(size, '\0');
    if (RAND_bytes(out(bytes), static_cast<int>(size)) != 1)
        return fail("no random bytes can be had");
    return bytes;
}

std::string sha256(std::string_view bytes) {
    std::string digest(EVP_MAX_MD_SIZE, '\0');
    unsigned size = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), out(digest), &size, EVP_sha256(), nullptr) != 1)
        std::abort(); // this OpenSSL has no SHA-256: no chain would mean anything
    digest.resize(size);
    return digest;
}

} // namespace penstock::store
