// tcx, the hooks of an interface that the kernel has since 6.6: numbers and system calls that Debian 12's headers lack.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <cstdint>
#include <vector>

namespace penstock::datapath {

// Needs CAP_NET_ADMIN. An error: the kernel does not say.
Result<bool> kernel_has_tcx();

// Ids of the programs on a hook in the order in which they run, 64 at most. None where the kernel has no tcx.
Result<std::vector<std::uint32_t>> tcx_programs(int ifindex, bool ingress);

// Takes away what other links put on a hook under this program name: those of a predecessor whose pins are out of
// reach, on a bpffs that was unmounted here and is still mounted elsewhere. kept: the id of the program that stays.
void detach_others_of_name(int ifindex, bool ingress, const char* name, std::uint32_t kept);

// A link that stands before all others; errno says why there is none.
Fd create_tcx_link(int program, int ifindex, bool ingress);

} // namespace penstock::datapath
