// Why a bundle or a root document is not taken: a name for programs and a sentence for people.
#pragma once

#include "agent/base/result.hpp"

#include <string>
#include <string_view>

namespace penstock::policy {

enum class Refusal {
    oversize,                // larger than kMaxEnvelopeBytes, or a root chain than kMaxRootChainBytes
    not_an_envelope,         // not a DSSE envelope in strict JSON, cut off, ...
    wrong_payload_type,      // signed for something else
    root_expired,            // the trust anchor itself is too old
    over_limit,              // too deep, too long or too many of anything; the sentence names the limit
    duplicate_json_key,      // a key is twice in one JSON object
    trailing_bytes,          // bytes after the end of the JSON
    invalid_utf8,            // in the JSON
    unknown_key,             // signed only by keys that the root does not list
    wrong_role,              // signed only by keys that the root lists for another role
    duplicate_key,           // below the threshold because one key signed twice, perhaps under two ids
    signature_invalid,       // a listed key's signature does not match the payload
    signature_not_canonical, // a listed key's signature in a form that anybody could have made of another
                             // (signature.hpp)
    too_few_signatures,      // below the threshold; a key counts once
    malformed_policy,        // well signed, but not a policy this version understands
    malformed_root,          // not a root document this version understands
    wrong_fleet,
    wrong_gateway,
    rollback,             // older than the last version
    conflicting_version,  // the last version again with another content
    root_rollback,        // a root older than the one in force
    root_version_skipped, // a root in between is missing
    root_conflict,        // the version of the root in force with another content
    not_yet_valid,        // not_before is more than kClockSkew away
    expired,
    gateway_unable, // nothing is wrong with the bundle: its root cannot be read, or the gateway has no room for it
};

std::string_view refusal_name(Refusal refusal); // "rollback", ...

struct Refused {
    Refusal refusal;
    std::string message;
    [[nodiscard]] Error error() const { return Error(message); }
};

// For an error of parse_json() or of what reads its document: the refusal of its code (document.hpp), or this one.
Refusal refusal_of(const Error& error, Refusal otherwise);

[[nodiscard]] inline tl::unexpected<Refused> refuse(Refusal refusal, std::string message) {
    return tl::unexpected<Refused>(Refused{refusal, std::move(message)});
}

} // namespace penstock::policy
