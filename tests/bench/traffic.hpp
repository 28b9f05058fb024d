// Sends frames of the generator through gateways, one after the other, again and again, and says what each took.
#pragma once

#include "tests/bench/attach.hpp"
#include "tests/bench/world.hpp"

#include <string>
#include <vector>

namespace penstock::bench {

// A gateway under test lives in three network namespaces, NAME-device, NAME-gateway and NAME-cloud: out0 of the first
// is wired to lan0 of the second, wan0 to in0 of the third.
struct Plan {
    std::vector<std::string> gateways;
    std::vector<std::string> answered;  // of those: flows are answered once before the first round, for conntrack
    std::vector<std::string> encrypted; // of those: what is sent is "encrypted" before the uplink's programs see it
    Size size;
    std::uint32_t flows = 4; // of a device
    bool new_flows = false;  // every packet
    bool strangers = false;  // from devices that nobody knows
    std::uint32_t rounds = 41;
    double slot = 0.05; // seconds a gateway and round
};

// One JSON object a line on standard output for each gateway and round:
// {"round", "gateway", "packets", "delivered", "cpu_ns", "wall_ns"}; CPU time is that of the one thread in which the
// generator, the gateway and the sink run.
Status run_traffic(const Plan& plan);

// The same for TCP: one connection a gateway, both ends in this thread; "packets" are bytes.
Status run_tcp(const Plan& plan);

} // namespace penstock::bench
