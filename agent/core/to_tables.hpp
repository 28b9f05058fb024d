// The compiled policy as the datapath takes it: where the words of the rule book become those of the packet path.
#pragma once

#include "agent/datapath/policy_tables.hpp"
#include "policy/compile.hpp"

#include <vector>

namespace penstock::core {

// slots: of the compiled devices, in their order.
datapath::PolicyTables to_tables(const policy::CompiledPolicy& compiled, const std::vector<std::uint32_t>& slots);

} // namespace penstock::core
