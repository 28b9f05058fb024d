// One sealed text: encrypted, authentic, and bound to its role, so that no two can change places.
//
//   offset 0   8 bytes  "PENSEAL1"
//          8   8 bytes  id of the key
//         16  32 bytes  salt, random
//         48            AES-256-GCM of the content, and its tag of 16 bytes
//
// Key and nonce of a text are derived (HKDF-SHA256) from the storage key, the salt and the role; offset 0 to 47 and the
// role are associated data. So no nonce is ever used twice with one key, and no counter has to be kept that a restored
// backup would set back: 2^64 texts may be sealed before two salts are alike with a probability of 2^-128.
#pragma once

#include "agent/store/keyring.hpp"

#include <string>
#include <string_view>

namespace penstock::store {

inline constexpr std::size_t kSealBytes = 64; // what a sealed text is longer than its content

bool is_sealed(std::string_view bytes);            // looks like one
std::string_view seal_id(std::string_view sealed); // its salt: no two texts have the same
Result<std::string> seal(const Keyring& keys, std::string_view role, std::string_view content);
// ENOKEY: sealed with a key that the ring has not. EBADMSG: damaged, changed, or of another role.
Result<std::string> unseal(const Keyring& keys, std::string_view role, std::string_view sealed);
// Sealed with a key of before, to be sealed anew.
bool is_outdated(const Keyring& keys, std::string_view sealed);

} // namespace penstock::store
