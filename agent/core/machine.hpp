// What the machine must offer before anything is touched: capabilities, BPF, XFRM. And what can still be shut when the
// gate cannot be put up at all.
#pragma once

#include "agent/core/config.hpp"

#include <string>
#include <vector>

namespace penstock::core {

enum class Task {
    gate,  // to put it up or take it away
    agent, // and to start and end penstock-ike
};

// Names such as CAP_BPF, of those that the task needs and this process does not have.
std::vector<std::string> missing_capabilities(Task task);
Status check_capabilities(Task task);
Status check_bpf();  // ENOSYS: the kernel has none; EPERM: somebody forbids it
Status check_xfrm(); // EPROTONOSUPPORT: the kernel has none

// Needs no BPF: the kernel stops forwarding what comes in on the LAN. For a start that failed before the gate stood.
Status shut_forwarding(const Config& config);

} // namespace penstock::core
