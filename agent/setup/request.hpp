// The gateway's own key, and the request (PKCS #10) with which a CA makes its certificate.
#pragma once

#include "agent/base/result.hpp"
#include "policy/bundle/key.hpp"

#include <string>

namespace penstock::setup {

// ECDSA P-384 as PKCS #8 in PEM.
Result<policy::Secret> make_key();

// In PEM; subject and subjectAltName say the id: a host name, an address or an e-mail address. One with '=', a
// distinguished name, is refused: that CA's own tools make such requests.
Result<std::string> make_request(const policy::Secret& key, const std::string& id);

} // namespace penstock::setup
