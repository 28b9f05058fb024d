// A policy as the cells of its map. Pure: no kernel.
#pragma once

#include "agent/datapath/policy_tables.hpp"

#include <vector>

namespace penstock::datapath {

// How flows call a device's address: it keeps its number as long as the device keeps the address.
struct AddressId {
    penstock_addr address;
    std::uint32_t slot;
    std::uint8_t id;
};

struct PolicyLayout {
    std::vector<penstock_cell> cells;
    std::vector<AddressId> addresses; // sorted by address
    std::uint32_t ipv6_slots = 0;     // one more than the highest slot of a device with an IPv6 address
};

// before: the addresses of the policy in force, sorted. seed: of the hash tables; devices that choose their addresses
// must not know it, or they fill the places of others. With another one, a layout that failed for that may succeed.
Result<PolicyLayout> lay_out(const PolicyTables& tables, const std::vector<AddressId>& before, std::uint32_t seed = 0);

// What a map of cells says about addresses: what lay_out() gave with it.
std::vector<AddressId> addresses_in(const penstock_cell* cells, std::size_t count);

bool is_ipv4(const penstock_addr& address);

} // namespace penstock::datapath
