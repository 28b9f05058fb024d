// Base64 (RFC 4648 section 4, strict), hex and SHA-256.
#pragma once

#include "agent/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::policy {

std::string base64_encode(std::string_view bytes);

// Padding is required; spaces, the URL alphabet and set bits behind the last byte are refused: one text for each
// content.
Result<std::string> base64_decode(std::string_view text);

std::string hex(std::string_view bytes);    // lower case
std::string sha256(std::string_view bytes); // 32 bytes
std::string sha256_hex(std::string_view bytes);

} // namespace penstock::policy
