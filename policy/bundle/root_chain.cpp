#include "policy/bundle/root_chain.hpp"

#include <utility>

namespace penstock::policy {
namespace {

// No JSON value has such a place inside: a comma or a colon would stand there, and a text holds no newline.
constexpr std::string_view kBetween = "}\n{";

tl::unexpected<Refused> with(const std::string& context, Refused refused) {
    refused.message = context + ": " + refused.message;
    return tl::unexpected(std::move(refused));
}

std::string title(const Root& root) { return "root of " + root.fleet + " version " + std::to_string(root.version); }

tl::expected<void, Refused> check_root_threshold(const Envelope& envelope, const Root& root) {
    auto enough = check_threshold(count_signatures(envelope, root, root.root), root.root, "root");
    return enough ? enough : with("by the keys of version " + std::to_string(root.version), enough.error());
}

tl::expected<Root, Refused> read(const Envelope& envelope) {
    auto root = Root::from_payload(envelope.payload);
    if (!root)
        return refuse(refusal_of(root.error(), Refusal::malformed_root), root.error().message());
    return std::move(*root);
}

tl::expected<Root, Refused> replace(const Root& trusted, Root next, const Envelope& envelope) {
    if (next.fleet != trusted.fleet)
        return refuse(Refusal::wrong_fleet,
                      "this root is for the fleet " + next.fleet + ", the one in force for " + trusted.fleet);
    if (next.version <= trusted.version)
        return refuse(Refusal::root_rollback, title(next) + " does not come after version " +
                                                  std::to_string(trusted.version) + "; versions only go up");
    if (next.version != trusted.version + 1)
        return refuse(Refusal::root_version_skipped,
                      title(next) + " does not follow version " + std::to_string(trusted.version) +
                          "; give the whole chain: each root is signed by the one before");
    for (const Root* keys : {&trusted, &std::as_const(next)})
        if (auto enough = check_root_threshold(envelope, *keys); !enough)
            return with(title(next), enough.error());
    return next;
}

} // namespace

tl::expected<RootChain, Refused> RootChain::parse(std::string_view bytes) {
    if (bytes.size() > kMaxRootChainBytes.value)
        return refuse(Refusal::oversize, std::to_string(bytes.size()) + " bytes of root documents are more than the " +
                                             describe(kMaxRootChainBytes));
    RootChain chain;
    for (std::size_t end = 0; end != bytes.npos;) {
        end = bytes.find(kBetween);
        auto envelope = Envelope::parse(bytes.substr(0, end == bytes.npos ? end : end + 1), kMaxRootBytes);
        if (!envelope)
            return refuse(refusal_of(envelope.error(), Refusal::not_an_envelope),
                          "root document " + std::to_string(chain.envelopes.size() + 1) +
                              " of the file: " + envelope.error().message());
        if (envelope->payload_type != kRootPayloadType)
            return refuse(Refusal::wrong_payload_type,
                          "this is not a root document but " + quote(envelope->payload_type));
        chain.envelopes.push_back(std::move(*envelope));
        bytes.remove_prefix(end == bytes.npos ? 0 : end + 2);
    }
    return chain;
}

std::string RootChain::dump() const {
    std::string out;
    for (const Envelope& envelope : envelopes)
        out += (out.empty() ? "" : "\n") + envelope.dump();
    return out;
}

bool is_root_chain(std::string_view bytes) {
    const auto end = bytes.substr(0, kMaxRootBytes.value + kBetween.size()).find(kBetween);
    const auto first = bytes.substr(0, end == bytes.npos ? end : end + 1);
    const auto envelope = Envelope::parse(first, kMaxRootBytes);
    return envelope && envelope->payload_type == kRootPayloadType;
}

tl::expected<Root, Refused> replace_root(const Root& trusted, const Envelope& next) {
    auto root = read(next);
    return root ? replace(trusted, std::move(*root), next) : root;
}

tl::expected<CaughtUp, Refused> catch_up(const Root& trusted, const RootChain& chain, std::optional<Time> now) {
    CaughtUp out{trusted, {}};
    std::uint64_t last = 0;
    for (const Envelope& envelope : chain.envelopes) {
        auto next = read(envelope);
        if (!next)
            return tl::unexpected(next.error());
        last = next->version;
        if (last == trusted.version && next->to_payload() != trusted.to_payload())
            return refuse(Refusal::root_conflict, title(*next) + " is not the one of that version that is in force");
        if (last <= trusted.version && out.steps.empty())
            continue;
        auto replaced = replace(out.root, std::move(*next), envelope);
        if (!replaced)
            return tl::unexpected(replaced.error());
        out.root = std::move(*replaced);
        out.steps.push_back(envelope);
    }
    if (last < trusted.version)
        return refuse(Refusal::root_rollback, "root version " + std::to_string(last) + " is older than version " +
                                                  std::to_string(trusted.version) + ", which is in force");
    if (now && *now >= out.root.expires)
        return refuse(Refusal::root_expired, title(out.root) + " expired at " + format_time(out.root.expires) +
                                                 "; sign one that is valid for longer");
    return out;
}

Result<Root> load_root(std::string_view bytes) {
    const auto chain = RootChain::parse(bytes);
    if (!chain)
        return tl::unexpected(chain.error().error());
    // A root vouches for itself: its keys must be read before its signatures can be. The strict reader bears that.
    const Envelope& first = chain->envelopes.front();
    auto root = Root::from_payload(first.payload);
    if (!root)
        return root;
    const auto count = count_signatures(first, *root, root->root);
    if (count.valid.size() < root->root.threshold)
        return fail("the root document carries " + std::to_string(count.valid.size()) + " of " +
                    std::to_string(root->root.threshold) +
                    " valid signatures of its own root keys; sign it with `penstock bundle sign`");
    auto last = catch_up(*root, *chain, std::nullopt);
    if (!last)
        return tl::unexpected(last.error().error());
    return std::move(last->root);
}

} // namespace penstock::policy
