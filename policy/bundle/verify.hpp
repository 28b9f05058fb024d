// Whether a bundle may become this gateway's policy. Every refusal has a name of its own and a sentence.
#pragma once

#include "policy/bundle/refusal.hpp"
#include "policy/bundle/root.hpp"
#include "policy/model.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::policy {

// How far a gateway's clock may be behind the signers' without refusing what is valid from now on.
inline constexpr std::chrono::minutes kClockSkew{5};

struct VerifyContext {
    std::optional<std::string> gateway;        // this gateway's name; none: any (a person's desk)
    std::optional<std::uint64_t> last_version; // highest version ever in force here
    std::optional<std::string> last_digest;    // VerifiedPolicy::digest of that version
    Time now;
    // For loading from disk what is in force already: neither its dates nor the root's expiry refuse it; the caller
    // reads VerifiedPolicy::expired and follows `on_expiry`. A bundle other than the last one is refused still.
    bool keep_expired = false;
};

struct VerifiedPolicy {
    Policy policy;
    std::string digest;               // SHA-256 of the payload, hex
    std::vector<std::string> signers; // ids of the keys that count, sorted
    bool already_in_force = false;    // same version, same content: nothing to do
    bool expired = false;             // only with keep_expired
};

// A payload that enough keys signed; nobody has looked into it yet.
struct SignedPayload {
    std::string payload;
    std::string digest;               // of the payload, as VerifiedPolicy::digest
    std::vector<std::string> signers; // as VerifiedPolicy::signers
};

// The two halves of verify(). The second takes what the first gave for the same root and context.
tl::expected<SignedPayload, Refused> verify_signatures(std::string_view envelope_bytes, const Root& root,
                                                       const VerifyContext& context);
tl::expected<VerifiedPolicy, Refused> verify_content(SignedPayload content, const Root& root,
                                                     const VerifyContext& context);

// Looks at the signatures over the exact payload bytes first; only then is the payload parsed.
tl::expected<VerifiedPolicy, Refused> verify(std::string_view envelope_bytes, const Root& root,
                                             const VerifyContext& context);

} // namespace penstock::policy
