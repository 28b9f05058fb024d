#include "agent/cli/signing_key.hpp"

#include "agent/cli/passphrase.hpp"

namespace penstock::cli {

using namespace penstock::policy;

Result<PublicKey> named_public_key(const std::string& name) {
    return token::is_uri(name) ? token::read_public_key(name) : load_public_key(name);
}

Result<token::Signed> sign_with(const std::string& name, const std::string& passphrase_file, std::string_view message) {
    if (token::is_uri(name))
        return token::sign(name, message, {passphrase_file, read_passphrase, ask_passphrase});
    const auto key = load_private_key(name, [&] {
        return passphrase_file.empty() ? ask_passphrase("Passphrase of " + name + ": ")
                                       : read_passphrase(passphrase_file);
    });
    if (!key)
        return tl::unexpected(key.error());
    auto signature = key->sign(message);
    if (!signature)
        return tl::unexpected(signature.error());
    return token::Signed{key->public_key(), std::move(*signature)};
}

} // namespace penstock::cli
