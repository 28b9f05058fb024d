// Which programs the kernel runs on an interface, in their order, whoever attached them.
#pragma once

#include "agent/base/result.hpp"

#include <string>
#include <vector>

namespace penstock::doctor {

enum class Side { ingress, egress };

struct HookProgram {
    std::string name; // of the BPF program, or the kind of a filter that is none ("flower", "matchall")
    bool tcx = false; // else a filter of a clsact qdisc; those come after all of tcx
};
// In the order in which a packet meets them.
Result<std::vector<HookProgram>> hook_programs(const std::string& interface, int ifindex, Side side);

} // namespace penstock::doctor
