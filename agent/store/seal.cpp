#include "agent/store/seal.hpp"

#include <cerrno>

namespace penstock::store {
namespace {

constexpr std::string_view kMagic = "PENSEAL1";
constexpr std::size_t kSaltBytes = 32;
constexpr std::size_t kHeaderBytes = kMagic.size() + kKeyIdBytes + kSaltBytes;
static_assert(kHeaderBytes + kTagBytes == kSealBytes);

struct Once {
    Key key;
    std::string nonce;
};

Result<Once> for_one_text(const Key& storage_key, std::string_view salt, std::string_view role) {
    auto derived = derive(storage_key, salt, "penstock seal 1: " + std::string(role), Key::kBytes + kNonceBytes);
    if (!derived)
        return tl::unexpected(derived.error());
    const Wipe derived_gone(*derived);
    const auto key = Key::from_bytes(std::string_view(*derived).substr(0, Key::kBytes));
    if (!key)
        return tl::unexpected(key.error());
    return Once{*key, derived->substr(Key::kBytes)};
}

std::string_view key_id(std::string_view sealed) { return sealed.substr(kMagic.size(), kKeyIdBytes); }

} // namespace

bool is_sealed(std::string_view bytes) { return bytes.size() >= kSealBytes && bytes.starts_with(kMagic); }

std::string_view seal_id(std::string_view sealed) { return sealed.substr(kMagic.size() + kKeyIdBytes, kSaltBytes); }

bool is_outdated(const Keyring& keys, std::string_view sealed) {
    return is_sealed(sealed) && key_id(sealed) != keys.current().id;
}

Result<std::string> seal(const Keyring& keys, std::string_view role, std::string_view content) {
    const auto salt = random_bytes(kSaltBytes);
    if (!salt)
        return tl::unexpected(salt.error());
    const auto once = for_one_text(keys.current().key, *salt, role);
    if (!once)
        return tl::unexpected(once.error());
    auto sealed = std::string(kMagic) + keys.current().id + *salt;
    const auto ciphertext = encrypt(once->key, once->nonce, sealed + std::string(role), content);
    if (!ciphertext)
        return tl::unexpected(ciphertext.error());
    return sealed.append(*ciphertext);
}

Result<std::string> unseal(const Keyring& keys, std::string_view role, std::string_view sealed) {
    if (!is_sealed(sealed))
        return fail("not sealed", EBADMSG);
    const auto* found = keys.find(key_id(sealed));
    if (found == nullptr)
        return fail("sealed with the key " + hex(key_id(sealed)) + ", which is not there", ENOKEY);
    const auto header = sealed.substr(0, kHeaderBytes);
    const auto once = for_one_text(found->key, header.substr(kMagic.size() + kKeyIdBytes), role);
    if (!once)
        return tl::unexpected(once.error());
    return decrypt(once->key, once->nonce, std::string(header) + std::string(role), sealed.substr(kHeaderBytes));
}

} // namespace penstock::store
