// The root document (as in TUF): which keys, and how many of them, may speak for the fleet. The gateway's trust anchor.
#pragma once

#include "policy/bundle/envelope.hpp"
#include "policy/bundle/key.hpp"
#include "policy/bundle/refusal.hpp"
#include "policy/text.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace penstock::policy {

inline constexpr std::string_view kRootPayloadType = "application/vnd.penstock.root+json";

struct Role {
    std::vector<std::string> keys; // ids, sorted
    std::uint64_t threshold = 0;   // 1 .. keys.size()
};

struct Root {
    std::string fleet;
    std::uint64_t version = 0;
    Time expires;
    std::map<std::string, PublicKey> keys; // by id
    Role root;
    Role policy;

    // Keys that no role has, roles with keys that are not there, thresholds out of reach: refused.
    static Result<Root> from_payload(std::string_view payload);
    [[nodiscard]] std::string to_payload() const;
};

// Which keys of a role signed an envelope. Each key counts once; what no key of the role made is only counted.
struct SignatureCount {
    std::vector<std::string> valid;         // ids, sorted
    std::vector<std::string> invalid;       // keys of the role whose signature does not match
    std::vector<std::string> not_canonical; // keys of the role with a signature in another form than signature.hpp's
    std::string twice;          // a valid key with more than one signature, or with the same one under another id
    std::size_t wrong_role = 0; // by keys of the root that the role does not have
    std::size_t unknown = 0;
};
SignatureCount count_signatures(const Envelope& envelope, const Root& root, const Role& role);

// Whether that is enough. role_name: "root" or "policy", for the sentence.
tl::expected<void, Refused> check_threshold(const SignatureCount& count, const Role& role, std::string_view role_name);

// A root file as an operator trusts it: an envelope that carries its own root threshold, and perhaps those that
// replaced it since (root_chain.hpp), of which the last one is given. Expiry is judged by verify().
Result<Root> load_root(std::string_view envelope_bytes);

} // namespace penstock::policy
