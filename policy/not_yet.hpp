// What the rule book can say and the gate of this version cannot do: refused by name, never half applied.
#pragma once

#include "policy/model.hpp"

namespace penstock::policy {

// An error names the first part of the policy that this version would have to ignore.
Status check_supported(const Policy& policy);

} // namespace penstock::policy
