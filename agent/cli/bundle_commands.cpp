#include "agent/cli/bundle_commands.hpp"

#include "agent/base/file.hpp"
#include "agent/cli/bundle_answer.hpp"
#include "policy/bundle/encoding.hpp"
#include "policy/bundle/root_chain.hpp"
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

// What an envelope holds, in words; an error if it is nothing that we would sign.
Result<Answer> describe_content(const Envelope& envelope) {
    if (envelope.payload_type == kRootPayloadType)
        return describe_root(envelope);
    if (envelope.payload_type != kPolicyPayloadType)
        return fail("the payload is " + quote(envelope.payload_type) + ": neither a policy nor a root");
    return describe_policy(envelope);
}

Answer sign(const Options& options) {
    const auto key = load_private_key(options.key);
    if (!key)
        return failure(key.error());
    auto file = load_signable(options.file);
    if (!file)
        return failure(file.error());
    Envelope& envelope = file->envelopes.back();
    // Nobody signs what this version would not read.
    auto content = describe_content(envelope);
    if (!content)
        return failure(Error(content.error()).with(options.file));
    const std::string& id = key->public_key().id();
    if (std::ranges::find(envelope.signatures, id, &Signature::key_id) != envelope.signatures.end())
        return refusal(options.file + " carries a signature by this key already (" + id + "); a key counts once",
                       "signed_already");
    if (envelope.signatures.size() >= kMaxSignatures.value)
        return refusal(options.file + ": no more signatures than the " + describe(kMaxSignatures), "limit");
    const auto signature = key->sign(envelope.signed_bytes());
    if (!signature)
        return failure(signature.error());
    envelope.signatures.push_back({id, *signature});
    if (auto written = write_file_atomically(options.file, file->dump(), 0644); !written)
        return failure(written.error());
    return {"signed " + options.file + " with key " + id + " (" + plural(envelope.signatures.size(), "signature") +
                "): " + content->text.substr(0, content->text.find('\n')),
            {{"key_id", id}, {"signatures", envelope.signatures.size()}, {"kind", content->json["kind"]}}};
}

Answer verify_bundle(const Options& options, bool with_last_version) {
    const auto root_bytes = read_file(options.root, kMaxRootChainBytes.value);
    if (!root_bytes)
        return failure(root_bytes.error());
    const auto root = load_root(*root_bytes);
    if (!root)
        return refusal(options.root + ": " + root.error().message(), "root_not_trusted");
    const auto bytes = read_file(options.file, kMaxEnvelopeBytes.value + 1);
    if (!bytes)
        return failure(bytes.error());
    const Time at = options.now.empty() ? now() : *parse_time(options.now);
    if (is_root_chain(*bytes))
        return verify_root(options.file, *bytes, *root, at);
    VerifyContext context;
    if (!options.gateway.empty())
        context.gateway = options.gateway;
    if (with_last_version)
        context.last_version = options.last_version;
    context.now = at;
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
    const auto file = load_signable(options.file);
    if (!file)
        return failure(file.error());
    const Envelope* envelope = &file->envelopes.back();
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

void examples(CLI::App* app, const std::string& lines) { app->footer("Examples:\n" + lines); }

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

    auto [rotate, t] =
        add("rotate-root", "make the next root document, to be signed", [](const Options& options, const CLI::App& c) {
            return rotate_root(options, {.root_threshold = c.count("--root-threshold") > 0,
                                         .policy_threshold = c.count("--policy-threshold") > 0});
        });
    examples(rotate, "  penstock bundle rotate-root --root root.json --root-key a.pub.pem b.pub.pem c.pub.pem \\\n"
                     "    --root-threshold 2 --expires 2028-01-01T00:00:00Z --out root-2.json\n"
                     "  penstock bundle sign --key old.pem root-2.json    # by as many keys as the old root asks for\n"
                     "  penstock bundle sign --key a.pem root-2.json      # and as many as the new one does\n"
                     "  penstock push root-2.json");
    rotate->add_option("--root", t->root, "the root document in force")->required();
    rotate->add_option("--root-key", t->root_keys, "all PUB.pem that may sign roots from now on; default: as before");
    rotate->add_option("--root-threshold", t->root_threshold, "how many of them must; default: as before");
    rotate->add_option("--policy-key", t->policy_keys, "all PUB.pem that may sign policies; default: as before");
    rotate->add_option("--policy-threshold", t->policy_threshold, "how many of them must; default: as before");
    rotate->add_option("--expires", t->expires, "such as 2028-01-01T00:00:00Z")->required()->check(check_time);
    rotate->add_option("--out", t->out, "the old root and those before it, and behind them the new one")->required();

    auto [make, b] = add("build", "YAML into an unsigned bundle", plain(build_bundle));
    make->add_option("SRC", b->sources, "YAML files of one fleet, or folders of them")->required();
    make->add_option("--out", b->out)->required();

    auto [add_signature, s] = add("sign", "add one signature, in place", plain(sign));
    examples(add_signature, "  penstock bundle sign --key alice.pem policy.bundle");
    add_signature->add_option("--key", s->key, "KEY.pem")->required();
    add_signature->add_option("FILE", s->file, "a bundle or a root document")->required();

    auto [check, v] = add("verify", "would a gateway take this bundle, or this root?",
                          [](const Options& options, const CLI::App& command) {
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
