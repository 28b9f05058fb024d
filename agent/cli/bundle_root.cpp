// `penstock bundle init-root|rotate-root`, and what `inspect` and `verify` say of a root document.
#include "agent/base/file.hpp"
#include "agent/cli/bundle_answer.hpp"
#include "agent/cli/signing_key.hpp"
#include "policy/bundle/root_chain.hpp"

#include <algorithm>

namespace penstock::cli {

using namespace penstock::policy;

namespace {

Result<Role> make_role(const std::vector<std::string>& paths, std::uint64_t threshold, std::string_view name,
                       Root& root) {
    Role role{{}, threshold};
    for (const std::string& path : paths) {
        const auto key = named_public_key(path);
        if (!key)
            return tl::unexpected(key.error());
        if (std::ranges::find(role.keys, key->id()) != role.keys.end())
            return fail(path + ": this key is given twice for the role " + std::string(name));
        role.keys.push_back(key->id());
        root.keys.emplace(key->id(), *key);
    }
    std::ranges::sort(role.keys);
    return role;
}

// Keys that no role has any more are left out.
void drop_unused_keys(Root& root) {
    std::erase_if(root.keys, [&](const auto& entry) {
        return !std::ranges::binary_search(root.root.keys, entry.first) &&
               !std::ranges::binary_search(root.policy.keys, entry.first);
    });
}

std::string of_keys(const Root& root) {
    return std::to_string(root.root.threshold) + " of the root keys of version " + std::to_string(root.version);
}

} // namespace

Answer init_root(const Options& options) {
    Root root;
    root.fleet = options.fleet;
    root.version = 1;
    root.expires = *parse_time(options.expires);
    auto root_role = make_role(options.root_keys, options.root_threshold, "root", root);
    auto policy_role = make_role(options.policy_keys, options.policy_threshold, "policy", root);
    if (!root_role || !policy_role)
        return failure((!root_role ? root_role : policy_role).error());
    root.root = std::move(*root_role);
    root.policy = std::move(*policy_role);
    const Envelope envelope{std::string(kRootPayloadType), root.to_payload(), {}};
    // What our own reader refuses is never written.
    if (const auto again = Root::from_payload(envelope.payload); !again)
        return failure(again.error());
    if (auto written = write_file_atomically(options.out, envelope.dump(), 0644, Existing::refuse); !written)
        return failure(written.error());
    return {"wrote " + options.out + ": root of " + root.fleet +
                ", not signed yet; next: " + std::to_string(root.root.threshold) +
                " of its root keys run `penstock bundle sign --key KEY.pem " + options.out + "`",
            {{"out", options.out}, {"fleet", root.fleet}, {"version", root.version}}};
}

Answer rotate_root(const Options& options, const RotateGiven& given) {
    const auto bytes = read_file(options.root, kMaxRootChainBytes.value);
    if (!bytes)
        return failure(bytes.error());
    const auto before = load_root(*bytes);
    if (!before)
        return refusal(options.root + ": " + before.error().message(), "root_not_trusted");
    Root root = *before;
    root.version++;
    root.expires = *parse_time(options.expires);
    for (auto [paths, role, name] : {std::tuple(&options.root_keys, &root.root, "root"),
                                     std::tuple(&options.policy_keys, &root.policy, "policy")}) {
        if (paths->empty())
            continue;
        auto changed = make_role(*paths, role->threshold, name, root);
        if (!changed)
            return failure(changed.error());
        *role = std::move(*changed);
    }
    if (given.root_threshold)
        root.root.threshold = options.root_threshold;
    if (given.policy_threshold)
        root.policy.threshold = options.policy_threshold;
    drop_unused_keys(root);
    auto chain = RootChain::parse(*bytes);
    if (!chain)
        return failure(chain.error().error());
    chain->envelopes.push_back({std::string(kRootPayloadType), root.to_payload(), {}});
    const std::string out = chain->dump();
    if (const auto again = Root::from_payload(chain->envelopes.back().payload); !again)
        return failure(again.error());
    if (out.size() > kMaxRootChainBytes.value)
        return refusal(options.out + ": more bytes than the " + describe(kMaxRootChainBytes), "limit");
    if (auto written = write_file_atomically(options.out, out, 0644, Existing::refuse); !written)
        return failure(written.error());
    return {"wrote " + options.out + ": root of " + root.fleet + " version " + std::to_string(root.version) +
                ", not signed yet; next: " + of_keys(*before) + " and " + of_keys(root) +
                " run `penstock bundle sign --key KEY.pem " + options.out + "`",
            {{"out", options.out}, {"fleet", root.fleet}, {"version", root.version}}};
}

Result<Answer> describe_root(const Envelope& envelope) {
    Answer answer;
    const auto root = Root::from_payload(envelope.payload);
    if (!root)
        return tl::unexpected(root.error());
    const auto role = [&](std::string_view name, const Role& r) {
        std::string text = "\n" + std::string(name) + ": " + std::to_string(r.threshold) + " of";
        for (const auto& id : r.keys)
            text += "\n  " + id + " " + std::string(key_type_name(root->keys.at(id).type()));
        answer.json[name] = {{"threshold", r.threshold}, {"keys", r.keys}};
        return text;
    };
    answer.text = "root of " + root->fleet + " version " + std::to_string(root->version) + ", expires " +
                  format_time(root->expires) + role("root", root->root) + role("policy", root->policy);
    answer.json.update(Json{
        {"kind", "root"}, {"fleet", root->fleet}, {"version", root->version}, {"expires", format_time(root->expires)}});
    return answer;
}

Answer verify_root(const std::string& path, std::string_view bytes, const Root& trusted, Time now) {
    const auto chain = RootChain::parse(bytes);
    if (!chain)
        return refusal(path + ": " + chain.error().message, refusal_name(chain.error().refusal));
    const auto last = catch_up(trusted, *chain, now);
    if (!last)
        return refusal(path + ": " + last.error().message, refusal_name(last.error().refusal));
    const Root& root = last->root;
    return {"valid: root of " + root.fleet + " version " + std::to_string(root.version) + ", expires " +
                format_time(root.expires) + ", " + plural(last->steps.size(), "step") + " from version " +
                std::to_string(trusted.version),
            {{"fleet", root.fleet},
             {"version", root.version},
             {"expires", format_time(root.expires)},
             {"steps", last->steps.size()}}};
}

Result<RootChain> load_signable(const std::string& path) {
    const auto bytes = read_bundle_file(path);
    if (!bytes)
        return tl::unexpected(bytes.error());
    if (is_root_chain(*bytes)) {
        auto chain = RootChain::parse(*bytes);
        if (!chain)
            return fail(path, chain.error().error());
        return std::move(*chain);
    }
    auto envelope = Envelope::parse(*bytes);
    if (!envelope)
        return fail(path, std::move(envelope.error()));
    return RootChain{{std::move(*envelope)}};
}

} // namespace penstock::cli
