// Passphrases of private keys: the first line of a file, or asked on the terminal without showing it.
#pragma once

#include "policy/bundle/key.hpp"

#include <string>

namespace penstock::cli {

// A file that others may read is refused.
Result<policy::Secret> read_passphrase(const std::string& path);

// On the terminal of this process (/dev/tty), whatever stdin is; an error if it has none, or on Ctrl-C.
Result<policy::Secret> ask_passphrase(const std::string& prompt);
// Asks twice; both must be equal.
Result<policy::Secret> ask_new_passphrase(const std::string& prompt);

} // namespace penstock::cli
