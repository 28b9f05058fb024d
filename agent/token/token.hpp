// Signing keys that live in a PKCS #11 token (smart card, HSM, SoftHSM) and never leave it. Modules are loaded in a
// child process (child.hpp); what comes out of it is verified here.
#pragma once

#include "policy/bundle/key.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace penstock::token {

bool is_uri(std::string_view name); // of a key: "pkcs11:..." (RFC 7512), and no file

// Where the PIN comes from: file, else the URI's pin-source, else a person.
struct PinSources {
    std::string file;
    std::function<Result<policy::Secret>(const std::string& path)> read;
    std::function<Result<policy::Secret>(const std::string& prompt)> ask;
};

struct Signed {
    policy::PublicKey key;
    std::string signature; // in the form of policy/bundle/signature.hpp
};

// Errors name the URI. The public key is read without a PIN.
Result<policy::PublicKey> read_public_key(const std::string& uri);
Result<Signed> sign(const std::string& uri, std::string_view message, const PinSources& pins);

} // namespace penstock::token
