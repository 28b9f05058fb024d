// The policy as it is signed: canonical JSON (sorted keys and lists, no spaces), read back without mercy.
#pragma once

#include "policy/model.hpp"

#include <string>
#include <string_view>

namespace penstock::policy {

inline constexpr std::string_view kPolicyPayloadType = "application/vnd.penstock.policy+json";

std::string to_payload(const Policy& policy);

// Limits hold while the bytes are read, before anything is built from them.
Result<Policy> from_payload(std::string_view payload);

} // namespace penstock::policy
