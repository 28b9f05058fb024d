// What the bundle tests share: a fleet with keys of both types, its root, and bundles signed by any of them.
#pragma once

#include "policy/bundle/verify.hpp"
#include "policy/payload.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <algorithm>
#include <initializer_list>

namespace penstock::test {

inline policy::PrivateKey make_key(policy::KeyType type = policy::KeyType::ed25519) {
    return *policy::PrivateKey::generate(type);
}

inline std::string envelope(std::string_view type, std::string payload,
                            std::initializer_list<const policy::PrivateKey*> keys) {
    policy::Envelope out{std::string(type), std::move(payload), {}};
    for (const auto* key : keys)
        out.signatures.push_back({key->public_key().id(), *key->sign(out.signed_bytes())});
    return out.dump();
}

// A root whose root role is these keys, and whose policy role is one other.
inline policy::Root make_root(std::uint64_t version, std::initializer_list<const policy::PrivateKey*> keys,
                              std::uint64_t threshold, const policy::PrivateKey& policy_key) {
    policy::Root root;
    root.fleet = "acme-berlin";
    root.version = version;
    root.expires = *policy::parse_time("2028-01-01T00:00:00Z");
    for (const auto* key : keys) {
        root.keys.emplace(key->public_key().id(), key->public_key());
        root.root.keys.push_back(key->public_key().id());
    }
    std::ranges::sort(root.root.keys);
    root.root.threshold = threshold;
    root.keys.emplace(policy_key.public_key().id(), policy_key.public_key());
    root.policy = {{policy_key.public_key().id()}, 1};
    return root;
}

struct Fleet {
    policy::PrivateKey root_key = make_key(), ed = make_key(), p256 = make_key(policy::KeyType::p256),
                       other = make_key();
    policy::Root root;
    policy::VerifyContext context;

    Fleet() {
        root.fleet = "acme-berlin";
        root.version = 1;
        root.expires = *policy::parse_time("2028-01-01T00:00:00Z");
        for (const auto* key : {&root_key, &ed, &p256})
            root.keys.emplace(key->public_key().id(), key->public_key());
        root.root = {{root_key.public_key().id()}, 1};
        root.policy = {{ed.public_key().id(), p256.public_key().id()}, 2};
        std::ranges::sort(root.policy.keys);
        context.gateway = "gw-1";
        context.now = *policy::parse_time("2026-11-22T00:00:00Z");
    }
    [[nodiscard]] std::string bundle(const std::string& yaml = kYaml) const { return signed_by({&ed, &p256}, yaml); }
    [[nodiscard]] std::string signed_by(std::initializer_list<const policy::PrivateKey*> keys,
                                        const std::string& yaml = kYaml) const {
        return envelope(policy::kPolicyPayloadType, policy::to_payload(read_ok(yaml)), keys);
    }
};

} // namespace penstock::test
