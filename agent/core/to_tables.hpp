// The compiled policy as the datapath takes it: where the words of the rule book become those of the packet path.
#pragma once

#include "agent/datapath/policy_tables.hpp"
#include "agent/net/links.hpp"
#include "policy/compile.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace penstock::core {

// The LAN interfaces that a policy binds devices to, by name, and their ifindexes; kNoInterface: there is none of that
// name, and its devices are believed nowhere.
using Interfaces = std::map<std::string, std::uint32_t>;
inline constexpr std::uint32_t kNoInterface = 0xffffffff;

Interfaces interfaces_of(const policy::Policy& policy, const std::vector<net::Link>& links);

// slots: of the compiled devices, in their order. interfaces: all that the policy names.
datapath::PolicyTables to_tables(const policy::CompiledPolicy& compiled, const std::vector<std::uint32_t>& slots,
                                 const Interfaces& interfaces = {});

} // namespace penstock::core
