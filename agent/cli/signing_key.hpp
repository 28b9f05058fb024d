// A key as the command line names it: a PEM file, or the PKCS #11 URI of one that lives in a token.
#pragma once

#include "agent/token/token.hpp"

#include <string>
#include <string_view>

namespace penstock::cli {

Result<policy::PublicKey> named_public_key(const std::string& name);

// Asks on the terminal for the passphrase or PIN, unless passphrase_file or the URI says where it is.
Result<token::Signed> sign_with(const std::string& name, const std::string& passphrase_file, std::string_view message);

} // namespace penstock::cli
