// What the files behind `penstock bundle` share: options, answers, and the words for them.
#pragma once

#include "agent/base/result.hpp"
#include "agent/cli/bundle_commands.hpp"
#include "policy/bundle/root_chain.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace penstock::cli {

using Json = nlohmann::json;

// What a command says: lines for people, fields for programs.
struct Answer {
    std::string text;
    Json json = Json::object();
    int exit_code = kDone;
};

struct Options {
    bool json = false;
    bool encrypt = false;
    std::string passphrase_file, payload, signature, public_key;
    std::string file, other, out, key, root, gateway, now, type = "ed25519", fleet, expires;
    std::vector<std::string> sources, root_keys, policy_keys;
    std::uint64_t root_threshold = 0, policy_threshold = 0, last_version = 0;
};

inline Answer refusal(const std::string& sentence, std::string_view reason) {
    return {sentence, {{"error", sentence}, {"reason", reason}}, kRefused};
}
inline Answer failure(const Error& error) { return refusal(error.message(), "failed"); }

inline std::string joined(const std::vector<std::string>& items) {
    std::string out;
    for (const auto& item : items)
        out += (out.empty() ? "" : ", ") + item;
    return out;
}

inline std::string plural(std::size_t number, const std::string& noun) {
    return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

// path: what errors call it.
Result<policy::Envelope> load_envelope(const std::string& path);

// What the policy in an envelope says; an error if it is none that we would sign.
Result<Answer> describe_policy(const policy::Envelope& envelope);

// A bundle, or the root documents of a file; the last envelope is the one to sign or to look at.
Result<policy::RootChain> load_signable(const std::string& path);

// What an envelope holds, in words; an error if it is nothing that we would sign.
Result<Answer> describe_content(const policy::Envelope& envelope);
Answer keygen(const Options& options);
Answer sign(const Options& options);

// What a root document says; an error if it is none that we would sign.
Result<Answer> describe_root(const policy::Envelope& envelope);
Answer init_root(const Options& options);
struct RotateGiven {
    bool root_threshold, policy_threshold; // whether these options are there
};
Answer rotate_root(const Options& options, const RotateGiven& given);
// path: what errors call it.
Answer verify_root(const std::string& path, std::string_view bytes, const policy::Root& trusted, policy::Time now);

Answer build_bundle(const Options& options);
Answer diff_bundles(const Options& options); // Options::file against Options::other

} // namespace penstock::cli
