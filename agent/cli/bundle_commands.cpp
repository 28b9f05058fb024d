#include "agent/cli/bundle_commands.hpp"

#include "agent/base/file.hpp"
#include "agent/cli/bundle_answer.hpp"
#include "policy/bundle/encoding.hpp"
#include "policy/bundle/verify.hpp"
#include "policy/not_yet.hpp"
#include "policy/payload.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock::cli {
namespace {

using namespace penstock::policy;

std::string public_path(const std::string& path) {
    return (path.ends_with(".pem") ? path.substr(0, path.size() - 4) : path) + ".pub.pem";
}

Answer keygen(const Options& options) {
    const std::string pub = public_path(options.out);
    if (::access(pub.c_str(), F_OK) == 0)
        return refusal(pub + " exists already; it is never overwritten", "exists");
    const auto key = PrivateKey::generate(*key_type_from_name(options.type));
    if (!key)
        return failure(key.error());
    const auto pem = key->pem();
    if (!pem)
        return failure(pem.error());
    if (auto written = write_file_atomically(options.out, pem->text, 0600, Existing::refuse); !written)
        return failure(written.error());
    if (auto written = write_file_atomically(pub, key->public_key().pem(), 0644, Existing::refuse); !written) {
        ::unlink(options.out.c_str()); // ours, made a moment ago, and useless alone
        return failure(written.error());
    }
    const std::string& id = key->public_key().id();
    return {"key id " + id + "\nwrote " + options.out + " (secret) and " + pub,
            {{"key_id", id}, {"type", options.type}, {"private", options.out}, {"public", pub}}};
}

Result<Role> make_role(const std::vector<std::string>& paths, std::uint64_t threshold, std::string_view name,
                       Root& root) {
    Role role{{}, threshold};
    for (const std::string& path : paths) {
        const auto key = load_public_key(path);
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

// What an envelope holds, in words; an error if it is nothing that we would sign.
Result<Answer> describe_content(const Envelope& envelope) {
    Answer answer;
    if (envelope.payload_type == kRootPayloadType) {
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
        answer.json.update(Json{{"kind", "root"},
                                {"fleet", root->fleet},
                                {"version", root->version},
                                {"expires", format_time(root->expires)}});
        return answer;
    }
    if (envelope.payload_type != kPolicyPayloadType)
        return fail("the payload is " + quote(envelope.payload_type) + ": neither a policy nor a root");
    return describe_policy(envelope);
}

Answer sign(const Options& options) {
    const auto key = load_private_key(options.key);
    if (!key)
        return failure(key.error());
    auto envelope = load_envelope(options.file);
    if (!envelope)
        return failure(envelope.error());
    // Nobody signs what this version would not read.
    auto content = describe_content(*envelope);
    if (!content)
        return failure(Error(content.error()).with(options.file));
    const std::string& id = key->public_key().id();
    if (std::ranges::find(envelope->signatures, id, &Signature::key_id) != envelope->signatures.end())
        return refusal(options.file + " carries a signature by this key already (" + id + "); a key counts once",
                       "signed_already");
    if (envelope->signatures.size() >= kMaxSignatures.value)
        return refusal(options.file + ": no more signatures than the " + describe(kMaxSignatures), "limit");
    const auto signature = key->sign(envelope->signed_bytes());
    if (!signature)
        return failure(signature.error());
    envelope->signatures.push_back({id, *signature});
    if (auto written = write_file_atomically(options.file, envelope->dump(), 0644); !written)
        return failure(written.error());
    return {"signed " + options.file + " with key " + id + " (" + plural(envelope->signatures.size(), "signature") +
                "): " + content->text.substr(0, content->text.find('\n')),
            {{"key_id", id}, {"signatures", envelope->signatures.size()}, {"kind", content->json["kind"]}}};
}

Answer verify_bundle(const Options& options, bool with_last_version) {
    const auto root_bytes = read_file(options.root, kMaxRootBytes.value);
    if (!root_bytes)
        return failure(root_bytes.error());
    const auto root = load_root(*root_bytes);
    if (!root)
        return refusal(options.root + ": " + root.error().message(), "root_not_trusted");
    const auto bytes = read_file(options.file, kMaxEnvelopeBytes.value + 1);
    if (!bytes)
        return failure(bytes.error());
    VerifyContext context;
    if (!options.gateway.empty())
        context.gateway = options.gateway;
    if (with_last_version)
        context.last_version = options.last_version;
    context.now = options.now.empty() ? now() : *parse_time(options.now);
    const auto verified = verify(*bytes, *root, context);
    if (!verified)
        return refusal(options.file + ": " + verified.error().message, refusal_name(verified.error().refusal));
    const Policy& policy = verified->policy;
    if (const auto supported = check_supported(policy); !supported)
        return refusal(options.file + ": " + supported.error().message(), refusal_name(Refusal::gateway_unable));
    return {"valid: " + policy.title() + ", expires " + format_time(policy.expires) + ", signed by " +
                plural(verified->signers.size(), "key") + " (needed " + std::to_string(root->policy.threshold) + ")",
            {{"fleet", policy.fleet},
             {"version", policy.version},
             {"expires", format_time(policy.expires)},
             {"digest", verified->digest},
             {"signers", verified->signers}}};
}

Answer inspect(const Options& options) {
    const auto envelope = load_envelope(options.file);
    if (!envelope)
        return failure(envelope.error());
    auto answer = describe_content(*envelope);
    if (!answer)
        return failure(Error(answer.error()).with(options.file));
    const std::string digest = sha256_hex(envelope->payload);
    answer->text +=
        "\npayload SHA-256 " + digest + "\n" + plural(envelope->signatures.size(), "signature") + ", not verified here";
    Json ids = Json::array();
    for (const auto& signature : envelope->signatures) {
        answer->text += "\n  key " + signature.key_id;
        ids.push_back(signature.key_id);
    }
    answer->json.update(Json{{"digest", digest}, {"signatures", ids}});
    return *answer;
}

void print(const Answer& answer, bool json) {
    if (json) {
        Json out = answer.json;
        out["ok"] = answer.exit_code == kDone;
        // A path of the command line may be any bytes.
        std::cout << out.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
    } else {
        (answer.exit_code == kDone ? std::cout : std::cerr) << answer.text << "\n";
    }
}

std::string check_time(const std::string& text) {
    const auto time = parse_time(text);
    return time ? "" : time.error().message();
}
std::string check_fleet(const std::string& text) { return is_name(text) ? "" : quote(text) + " is not a fleet's name"; }
std::string check_key_type(const std::string& text) {
    return key_type_from_name(text) ? "" : quote(text) + " is neither ed25519 nor p256";
}

} // namespace

void add_bundle_commands(CLI::App& app, int& exit_code) {
    CLI::App* bundle = app.add_subcommand("bundle", "make, sign and check policy bundles");
    bundle->require_subcommand(1);
    // run: from the options to an answer; the options live as long as the callback that holds them.
    const auto add = [&](const char* name, const char* what, auto&& run) {
        CLI::App* command = bundle->add_subcommand(name, what);
        auto options = std::make_shared<Options>();
        command->add_flag("--json", options->json, "answer in JSON");
        command->callback([command, options, run, &exit_code] {
            const Answer answer = run(*options, *command);
            print(answer, options->json);
            exit_code = answer.exit_code;
        });
        return std::pair(command, options);
    };
    const auto plain = [](auto function) {
        return [function](const Options& options, const CLI::App&) { return function(options); };
    };

    auto [make_key, k] = add("keygen", "make a signing key", plain(keygen));
    make_key->add_option("--out", k->out, "KEY.pem, the secret key; KEY.pub.pem is written beside it")->required();
    make_key->add_option("--type", k->type, "ed25519 (default) or p256")->check(check_key_type);

    auto [root, r] = add("init-root", "make a root document, to be signed", plain(init_root));
    root->add_option("--fleet", r->fleet)->required()->check(check_fleet);
    root->add_option("--root-key", r->root_keys, "PUB.pem that may sign roots")->required();
    root->add_option("--root-threshold", r->root_threshold, "how many of them must")->required();
    root->add_option("--policy-key", r->policy_keys, "PUB.pem that may sign policies")->required();
    root->add_option("--policy-threshold", r->policy_threshold, "how many of them must")->required();
    root->add_option("--expires", r->expires, "such as 2027-01-01T00:00:00Z")->required()->check(check_time);
    root->add_option("--out", r->out)->required();

    auto [make, b] = add("build", "YAML into an unsigned bundle", plain(build_bundle));
    make->add_option("SRC", b->sources, "YAML files of one fleet, or folders of them")->required();
    make->add_option("--out", b->out)->required();

    auto [add_signature, s] = add("sign", "add one signature, in place", plain(sign));
    add_signature->add_option("--key", s->key, "KEY.pem")->required();
    add_signature->add_option("FILE", s->file, "a bundle or a root document")->required();

    auto [check, v] =
        add("verify", "would a gateway take this bundle?", [](const Options& options, const CLI::App& command) {
            return verify_bundle(options, command.count("--last-version") > 0);
        });
    check->add_option("--root", v->root, "the trusted root document")->required();
    check->add_option("FILE", v->file)->required();
    check->add_option("--gateway", v->gateway, "the gateway's name");
    check->add_option("--last-version", v->last_version, "the version that is in force");
    check->add_option("--now", v->now, "judge as if it were this time")->check(check_time);

    auto [show, i] = add("inspect", "say what a bundle or root document holds", plain(inspect));
    show->add_option("FILE", i->file)->required();

    auto [compare, d] = add("diff", "say what each device gains and loses", plain(diff_bundles));
    compare->add_option("OLD", d->file, "a bundle")->required();
    compare->add_option("NEW", d->other, "a bundle")->required();
}

} // namespace penstock::cli
