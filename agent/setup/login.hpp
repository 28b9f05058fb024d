// From where the person sits who types: whoever closes the gate over the network may close it on himself.
#pragma once

#include "agent/base/ip.hpp"

#include <optional>

namespace penstock::setup {

struct Login {
    bool remote = false;
    std::optional<IpAddress> from; // if it is known
};

// SSH_CONNECTION, or where sudo has dropped it, what logind knows of this session. Remote, if nobody knows and it
// is no console.
Login login();

} // namespace penstock::setup
