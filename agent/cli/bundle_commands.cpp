#include "agent/cli/bundle_commands.hpp"

#include "agent/base/file.hpp"
#include "agent/cli/bundle_answer.hpp"
#include "policy/bundle/encoding.hpp"
#include "policy/bundle/root_chain.hpp"
#include "policy/bundle/verify.hpp"
#include "policy/payload.hpp"

#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>

namespace penstock::cli {
namespace {

using namespace penstock::policy;

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
    make_key->add_flag("--encrypt", k->encrypt, "ask for a passphrase and encrypt KEY.pem with it");
    make_key->add_option("--passphrase-file", k->passphrase_file, "encrypt with its first line, in place of asking");
    examples(make_key, "  penstock bundle keygen --out alice.pem --encrypt\n"
                       "  penstock bundle keygen --out bob.pem --type p256");

    auto [root, r] = add("init-root", "make a root document, to be signed", plain(init_root));
    root->add_option("--fleet", r->fleet)->required()->check(check_fleet);
    root->add_option("--root-key", r->root_keys, "PUB.pem, or pkcs11: URI, of a key that may sign roots")->required();
    root->add_option("--root-threshold", r->root_threshold, "how many of them must")->required();
    root->add_option("--policy-key", r->policy_keys, "PUB.pem, or pkcs11: URI, of a key that may sign policies")
        ->required();
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
    rotate->add_option("--root-key", t->root_keys,
                       "all PUB.pem, or URIs, that may sign roots from now on; default: as before");
    rotate->add_option("--root-threshold", t->root_threshold, "how many of them must; default: as before");
    rotate->add_option("--policy-key", t->policy_keys,
                       "all PUB.pem, or URIs, that may sign policies; default: as before");
    rotate->add_option("--policy-threshold", t->policy_threshold, "how many of them must; default: as before");
    rotate->add_option("--expires", t->expires, "such as 2028-01-01T00:00:00Z")->required()->check(check_time);
    rotate->add_option("--out", t->out, "the old root and those before it, and behind them the new one")->required();

    auto [make, b] = add("build", "YAML into an unsigned bundle", plain(build_bundle));
    make->add_option("SRC", b->sources, "YAML files of one fleet, or folders of them")->required();
    make->add_option("--out", b->out)->required();

    auto [add_signature, s] = add("sign", "add one signature, in place", plain(sign));
    examples(add_signature,
             "  penstock bundle sign --key alice.pem policy.bundle\n"
             "  penstock bundle sign --key 'pkcs11:token=alice;object=sign' policy.bundle\n"
             "With a key on a machine without a network:\n"
             "  penstock bundle sign --payload policy.pae policy.bundle\n"
             "  openssl pkeyutl -sign -rawin -inkey bob.pem -in policy.pae -out policy.sig      # there\n"
             "  penstock bundle sign --signature policy.sig --public-key bob.pub.pem policy.bundle");
    auto* how = add_signature->add_option_group("one of");
    auto* secret =
        how->add_option("--key", s->key, "KEY.pem, or pkcs11: URI of a key in a token; asks for passphrase or PIN");
    how->add_option("--payload", s->payload, "write what is to be signed (DSSE PAE) to this file; sign nothing");
    auto* made = how->add_option("--signature", s->signature, "add this signature, made elsewhere over the PAE");
    how->require_option(1);
    auto* by = add_signature->add_option("--public-key", s->public_key, "PUB.pem, or pkcs11: URI, of that signature")
                   ->needs(made);
    made->needs(by);
    add_signature->add_option("--passphrase-file", s->passphrase_file, "its first line, in place of asking")
        ->needs(secret);
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
