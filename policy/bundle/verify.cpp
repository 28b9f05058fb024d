#include "policy/bundle/verify.hpp"

#include "policy/bundle/encoding.hpp"
#include "policy/payload.hpp"

namespace penstock::policy {
namespace {

using Check = tl::expected<void, Refused>;

Check check_target(const Policy& policy, const Root& root, const VerifyContext& context) {
    if (policy.fleet != root.fleet)
        return refuse(Refusal::wrong_fleet,
                      "this bundle is for the fleet " + policy.fleet + ", the root for " + root.fleet);
    if (context.gateway && !policy.is_for_gateway(*context.gateway)) {
        std::string globs;
        for (const auto& glob : policy.gateways)
            globs += (globs.empty() ? "" : ", ") + glob;
        return refuse(Refusal::wrong_gateway,
                      policy.title() + " is for the gateways " + globs + ", not for " + quote(*context.gateway));
    }
    return {};
}

Check check_version(const VerifiedPolicy& verified, const VerifyContext& context) {
    if (!context.last_version || verified.policy.version > *context.last_version || verified.already_in_force)
        return {};
    const std::string last = std::to_string(*context.last_version);
    if (verified.policy.version < *context.last_version)
        return refuse(Refusal::rollback, verified.policy.title() + " is older than version " + last +
                                             ", which was in force; versions only go up");
    return refuse(Refusal::conflicting_version, verified.policy.title() + " is the last version again" +
                                                    (context.last_digest ? " with other content" : "") +
                                                    "; give the new content a higher version");
}

bool is_last(const std::string& digest, const VerifyContext& context) {
    return context.last_digest && *context.last_digest == digest;
}

} // namespace

tl::expected<SignedPayload, Refused> verify_signatures(std::string_view envelope_bytes, const Root& root,
                                                       const VerifyContext& context) {
    if (envelope_bytes.size() > kMaxEnvelopeBytes.value)
        return refuse(Refusal::oversize, std::to_string(envelope_bytes.size()) + " bytes are more than the " +
                                             describe(kMaxEnvelopeBytes));
    auto envelope = Envelope::parse(envelope_bytes);
    if (!envelope)
        return refuse(refusal_of(envelope.error(), Refusal::not_an_envelope),
                      "this is not a bundle: " + envelope.error().message());
    if (envelope->payload_type != kPolicyPayloadType)
        return refuse(Refusal::wrong_payload_type,
                      "the payload is " + quote(envelope->payload_type) + ", not " + quote(kPolicyPayloadType));
    std::string digest = sha256_hex(envelope->payload);
    const bool tolerate_expiry = context.keep_expired && is_last(digest, context);
    if (context.now >= root.expires && !tolerate_expiry)
        return refuse(Refusal::root_expired, "the root document of " + root.fleet + " expired at " +
                                                 format_time(root.expires) + "; install a newer one");
    auto count = count_signatures(*envelope, root, root.policy);
    if (auto enough = check_threshold(count, root.policy, "policy"); !enough)
        return tl::unexpected(enough.error());
    return SignedPayload{std::move(envelope->payload), std::move(digest), std::move(count.valid)};
}

tl::expected<VerifiedPolicy, Refused> verify_content(SignedPayload content, const Root& root,
                                                     const VerifyContext& context) {
    const bool last_again = is_last(content.digest, context);
    const bool tolerate_expiry = context.keep_expired && last_again;
    VerifiedPolicy verified;
    verified.digest = std::move(content.digest);
    verified.signers = std::move(content.signers);
    auto policy = from_payload(content.payload);
    if (!policy)
        return refuse(refusal_of(policy.error(), Refusal::malformed_policy), policy.error().message());
    verified.policy = std::move(*policy);
    verified.already_in_force = last_again && context.last_version == verified.policy.version;
    if (auto target = check_target(verified.policy, root, context); !target)
        return tl::unexpected(target.error());
    if (auto version = check_version(verified, context); !version)
        return tl::unexpected(version.error());
    const auto& begin = verified.policy.not_before;
    if (begin && context.now + kClockSkew < *begin && !tolerate_expiry)
        return refuse(Refusal::not_yet_valid, verified.policy.title() + " is valid from " + format_time(*begin) +
                                                  " on, and here it is " + format_time(context.now) +
                                                  "; push it then, or set the clock if it is wrong");
    verified.expired = context.now >= verified.policy.expires;
    if (verified.expired && !tolerate_expiry)
        return refuse(Refusal::expired, verified.policy.title() + " expired at " +
                                            format_time(verified.policy.expires) +
                                            "; sign one that is valid for longer");
    return verified;
}

tl::expected<VerifiedPolicy, Refused> verify(std::string_view envelope_bytes, const Root& root,
                                             const VerifyContext& context) {
    auto content = verify_signatures(envelope_bytes, root, context);
    if (!content)
        return tl::unexpected(content.error());
    return verify_content(std::move(*content), root, context);
}

} // namespace penstock::policy
