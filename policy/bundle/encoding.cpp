#include "policy/bundle/encoding.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace penstock::policy {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> make_values() {
    std::array<std::int8_t, 256> values{};
    values.fill(-1);
    for (std::size_t i = 0; i < kAlphabet.size(); i++)
        values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int8_t>(i);
    return values;
}
constexpr auto kValues = make_values();

} // namespace

std::string base64_encode(std::string_view bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        const std::size_t have = std::min<std::size_t>(3, bytes.size() - i);
        for (std::size_t j = 0; j < 3; j++)
            group = group << 8 | (j < have ? static_cast<unsigned char>(bytes[i + j]) : 0U);
        for (std::size_t j = 0; j < 4; j++)
            out += j <= have ? kAlphabet[group >> (18 - 6 * j) & 63] : '=';
    }
    return out;
}

Result<std::string> base64_decode(std::string_view text) {
    if (text.size() % 4 != 0)
        return fail("is not base64: its length is not a multiple of four");
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    std::string out(text.size() / 4 * 3, '\0');
    std::size_t at = 0;
    const std::size_t end = text.size() - padding, whole = end / 4 * 4;
    const auto value = [&](std::size_t i) { return static_cast<int>(kValues[static_cast<unsigned char>(text[i])]); };
    const auto wrong = [&](std::size_t i) {
        while (value(i) >= 0)
            i++;
        return fail("is not base64: character " + std::to_string(i) + " is none of A-Z a-z 0-9 + /");
    };
    for (std::size_t i = 0; i < whole; i += 4) {
        const int group = value(i) << 18 | value(i + 1) << 12 | value(i + 2) << 6 | value(i + 3);
        if (group < 0)
            return wrong(i);
        out[at++] = static_cast<char>(group >> 16);
        out[at++] = static_cast<char>(group >> 8);
        out[at++] = static_cast<char>(group);
    }
    int bits = 0;
    for (std::size_t i = whole; i < end; i++) {
        if (value(i) < 0)
            return wrong(i);
        bits = bits << 6 | value(i);
    }
    if (padding != 0)
        out[at++] = static_cast<char>(padding == 2 ? bits >> 4 : bits >> 10);
    if (padding == 1)
        out[at++] = static_cast<char>(bits >> 2);
    out.resize(at);
    // What is left over of the last character must be zero: 4 bits before "==", 2 before "=".
    if ((padding == 2 && (bits & 15) != 0) || (padding == 1 && (bits & 3) != 0))
        return fail("is not base64: bits are set behind its last byte");
    return out;
}

std::string hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
        out += digits[static_cast<unsigned char>(c) >> 4];
        out += digits[static_cast<unsigned char>(c) & 15];
    }
    return out;
}

std::string sha256(std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
        std::abort(); // SHA-256 is missing from this OpenSSL: no check below would mean anything
    return {reinterpret_cast<const char*>(digest.data()), size};
}

std::string sha256_hex(std::string_view bytes) { return hex(sha256(bytes)); }

} // namespace penstock::policy
