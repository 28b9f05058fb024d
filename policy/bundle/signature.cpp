#include "policy/bundle/signature.hpp"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include <algorithm>
#include <memory>

namespace penstock::policy {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kEd25519Bytes = 64;
// RFC 8032, 5.1: L, big endian. SEC 2, 2.4.2: n of P-256, big endian.
constexpr auto kEd25519Order = "\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                               "\x14\xde\xf9\xde\xa2\xf7\x9c\xd6\x58\x12\x63\x1a\x5c\xf5\xd3\xed"sv;
constexpr auto kP256Order = "\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
                            "\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"sv;

struct Free {
    void operator()(BIGNUM* number) const { BN_free(number); }
    void operator()(ECDSA_SIG* signature) const { ECDSA_SIG_free(signature); }
};
using Number = std::unique_ptr<BIGNUM, Free>;
using EcdsaSignature = std::unique_ptr<ECDSA_SIG, Free>;

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

bool is_scalar(const BIGNUM* number, const BIGNUM* order) {
    return BN_is_negative(number) == 0 && BN_is_zero(number) == 0 && BN_cmp(number, order) < 0;
}

std::optional<std::string> encoded(const ECDSA_SIG* signature) {
    unsigned char* der = nullptr;
    const int size = i2d_ECDSA_SIG(signature, &der);
    if (size <= 0)
        return std::nullopt;
    std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
    OPENSSL_free(der);
    return out;
}

std::optional<std::string> low_s(std::string_view der) {
    const unsigned char* at = bytes(der);
    const EcdsaSignature read(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
    ERR_clear_error();
    const Number order(BN_bin2bn(bytes(kP256Order), static_cast<int>(kP256Order.size()), nullptr));
    if (!read || !order || at != bytes(der) + der.size() || !is_scalar(ECDSA_SIG_get0_r(read.get()), order.get()) ||
        !is_scalar(ECDSA_SIG_get0_s(read.get()), order.get()))
        return std::nullopt;
    Number r(BN_dup(ECDSA_SIG_get0_r(read.get()))), s(BN_dup(ECDSA_SIG_get0_s(read.get()))), other(BN_new());
    const EcdsaSignature low(ECDSA_SIG_new());
    if (!r || !s || !other || !low || BN_sub(other.get(), order.get(), s.get()) != 1)
        return std::nullopt;
    if (BN_cmp(other.get(), s.get()) < 0)
        s.swap(other);
    if (ECDSA_SIG_set0(low.get(), r.get(), s.get()) != 1)
        return std::nullopt;
    [[maybe_unused]] const BIGNUM* const given[] = {r.release(), s.release()}; // low has them now
    return encoded(low.get());
}

} // namespace

std::optional<std::string> canonical_signature(KeyType type, std::string_view signature) {
    if (type == KeyType::p256)
        return low_s(signature);
    if (signature.size() != kEd25519Bytes)
        return std::nullopt;
    std::string s(signature.substr(kEd25519Bytes / 2)); // little endian
    std::ranges::reverse(s);
    return std::string_view(s) < kEd25519Order ? std::optional<std::string>(signature) : std::nullopt;
}

std::optional<std::string> signature_of_token(KeyType type, std::string_view signature) {
    if (type != KeyType::p256)
        return canonical_signature(type, signature);
    if (signature.size() != 2 * kP256Order.size())
        return std::nullopt;
    constexpr int size = static_cast<int>(kP256Order.size());
    const EcdsaSignature both(ECDSA_SIG_new());
    Number r(BN_bin2bn(bytes(signature), size, nullptr)), s(BN_bin2bn(bytes(signature) + size, size, nullptr));
    if (!both || !r || !s || ECDSA_SIG_set0(both.get(), r.get(), s.get()) != 1)
        return std::nullopt;
    [[maybe_unused]] const BIGNUM* const given[] = {r.release(), s.release()}; // both has them now
    const auto der = encoded(both.get());
    return der ? low_s(*der) : std::nullopt;
}

} // namespace penstock::policy
