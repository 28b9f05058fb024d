// DSSE v1 envelope: a payload, its type and signatures over both (PAE). Read strictly, written canonically.
#pragma once

#include "agent/base/result.hpp"
#include "policy/limits.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace penstock::policy {

struct Signature {
    std::string key_id; // a hint only: nothing vouches for it but the signature
    std::string bytes;
};

struct Envelope {
    std::string payload_type;
    std::string payload; // decoded bytes, exactly as signed
    std::vector<Signature> signatures;

    // Unknown keys, loose base64, over-long or cut-off input: refused.
    static Result<Envelope> parse(std::string_view bytes, const Limit& limit = kMaxEnvelopeBytes);
    [[nodiscard]] std::string dump() const;         // no newline at the end: every cut-off copy is refused
    [[nodiscard]] std::string signed_bytes() const; // pae(payload_type, payload)
};

// "DSSEv1 <length> <type> <length> <payload>": what is signed.
std::string pae(std::string_view payload_type, std::string_view payload);

} // namespace penstock::policy
