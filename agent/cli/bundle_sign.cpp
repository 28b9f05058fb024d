// `penstock bundle keygen|sign`: keys and the signatures they make, here or elsewhere.
#include "agent/base/file.hpp"
#include "agent/cli/bundle_answer.hpp"
#include "agent/cli/passphrase.hpp"
#include "agent/cli/signing_key.hpp"
#include "policy/bundle/signature.hpp"
#include "policy/payload.hpp"

#include <algorithm>
#include <optional>
#include <unistd.h>

namespace penstock::cli {

using namespace penstock::policy;

namespace {

std::string public_path(const std::string& path) {
    return (path.ends_with(".pem") ? path.substr(0, path.size() - 4) : path) + ".pub.pem";
}

// None: the key is not to be encrypted.
Result<std::optional<Secret>> new_passphrase(const Options& options) {
    if (!options.encrypt && options.passphrase_file.empty())
        return std::optional<Secret>();
    auto passphrase = options.passphrase_file.empty() ? ask_new_passphrase("New passphrase of " + options.out + ": ")
                                                      : read_passphrase(options.passphrase_file);
    if (!passphrase)
        return tl::unexpected(passphrase.error());
    return std::optional<Secret>(std::move(*passphrase));
}

struct Made {
    std::string key_id;
    std::string signature;
};
using Making = tl::expected<Made, Answer>;

Making sign_here(const Options& options, const Envelope& envelope) {
    auto made = sign_with(options.key, options.passphrase_file, envelope.signed_bytes());
    if (!made)
        return tl::unexpected(failure(made.error()));
    return Made{made->key.id(), std::move(made->signature)};
}

// Verified before it is taken; of an ECDSA signature with the higher s the lower one is.
Making signed_elsewhere(const Options& options, const Envelope& envelope) {
    const auto key = named_public_key(options.public_key);
    if (!key)
        return tl::unexpected(failure(key.error()));
    const auto bytes = read_file(options.signature, kMaxSignatureBytes.value);
    if (!bytes)
        return tl::unexpected(failure(bytes.error()));
    auto signature = canonical_signature(key->type(), *bytes);
    if (!signature)
        return tl::unexpected(refusal(options.signature + ": is not a signature by a key of the type " +
                                          std::string(key_type_name(key->type())) + ", as bytes",
                                      "signature_not_canonical"));
    if (!key->verify(envelope.signed_bytes(), *signature))
        return tl::unexpected(refusal(options.signature + ": is not the signature of " + options.public_key + " over " +
                                          options.file + "; sign what `--payload` writes",
                                      "signature_invalid"));
    return Made{key->id(), std::move(*signature)};
}

Answer write_payload(const Options& options, const Envelope& envelope) {
    if (auto written = write_file_atomically(options.payload, envelope.signed_bytes(), 0644, Existing::refuse);
        !written)
        return failure(written.error());
    return {"wrote " + options.payload + ": what is to be signed of " + options.file, {{"out", options.payload}}};
}

} // namespace

Answer keygen(const Options& options) {
    const std::string pub = public_path(options.out);
    if (::access(pub.c_str(), F_OK) == 0)
        return refusal(pub + " exists already; it is never overwritten", "exists");
    const auto key = PrivateKey::generate(*key_type_from_name(options.type));
    if (!key)
        return failure(key.error());
    const auto passphrase = new_passphrase(options);
    if (!passphrase)
        return failure(passphrase.error());
    const auto pem = *passphrase ? key->encrypted_pem(**passphrase) : key->pem();
    if (!pem)
        return failure(pem.error());
    if (auto written = write_file_atomically(options.out, pem->text, 0600, Existing::refuse); !written)
        return failure(written.error());
    if (auto written = write_file_atomically(pub, key->public_key().pem(), 0644, Existing::refuse); !written) {
        ::unlink(options.out.c_str()); // ours, made a moment ago, and useless alone
        return failure(written.error());
    }
    const std::string& id = key->public_key().id();
    return {"key id " + id + "\nwrote " + options.out + " (secret" + (*passphrase ? ", encrypted" : "") + ") and " +
                pub,
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
    auto file = load_signable(options.file);
    if (!file)
        return failure(file.error());
    Envelope& envelope = file->envelopes.back();
    // Nobody signs what this version would not read.
    auto content = describe_content(envelope);
    if (!content)
        return failure(Error(content.error()).with(options.file));
    if (!options.payload.empty())
        return write_payload(options, envelope);
    auto made = options.signature.empty() ? sign_here(options, envelope) : signed_elsewhere(options, envelope);
    if (!made)
        return made.error();
    const std::string& id = made->key_id;
    if (std::ranges::find(envelope.signatures, id, &Signature::key_id) != envelope.signatures.end())
        return refusal(options.file + " carries a signature by this key already (" + id + "); a key counts once",
                       "signed_already");
    if (envelope.signatures.size() >= kMaxSignatures.value)
        return refusal(options.file + ": no more signatures than the " + describe(kMaxSignatures), "limit");
    envelope.signatures.push_back({id, std::move(made->signature)});
    if (auto written = write_file_atomically(options.file, file->dump(), 0644); !written)
        return failure(written.error());
    return {"signed " + options.file + " with key " + id + " (" + plural(envelope.signatures.size(), "signature") +
                "): " + content->text.substr(0, content->text.find('\n')),
            {{"key_id", id}, {"signatures", envelope.signatures.size()}, {"kind", content->json["kind"]}}};
}

} // namespace penstock::cli
