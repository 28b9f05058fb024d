// The one form in which a signature is taken, so that nobody can make a second signature out of the first.
//   Ed25519: 64 bytes, S below the group's order (RFC 8032, 5.1.7)
//   P-256:   Ecdsa-Sig-Value in DER (RFC 3279, 2.2.3), r from 1 to n-1, s from 1 to n/2 ("low s")
#pragma once

#include "policy/bundle/key.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace penstock::policy {

// The same signature in that form: of ECDSA the lower s, for openssl and most tokens give either of the two. None:
// nothing that a key of this type could have made.
std::optional<std::string> canonical_signature(KeyType type, std::string_view signature);

// The same of what a PKCS #11 token makes: of ECDSA r || s, 32 bytes each (PKCS #11 v2.40 mechanisms, 2.3.1).
std::optional<std::string> signature_of_token(KeyType type, std::string_view signature);

inline bool is_canonical_signature(KeyType type, std::string_view signature) {
    return canonical_signature(type, signature) == signature;
}

} // namespace penstock::policy
