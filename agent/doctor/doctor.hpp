// `penstock doctor`: looks at machine, gate and files from outside, whether or not the agent lives. Reads only.
#pragma once

#include "agent/base/result.hpp"
#include "agent/core/config.hpp"
#include "agent/core/routing.hpp"
#include "agent/doctor/report.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

namespace penstock::doctor {

// status: what the agent answers to {"op":"status"}, or why it does not.
std::vector<Finding> examine(const std::filesystem::path& config, const Result<nlohmann::json>& status);

// The parts, in the order in which they are told.
void check_kernel(Report& report);
void check_clock(Report& report);
void check_disk(const core::Config& config, Report& report);
void check_files(const core::Config& config, Report& report); // certificates and what preflight() finds
void check_agent(const Result<nlohmann::json>& status, Report& report);
void check_hooks(const core::Config& config, const core::NetworkView& network, const Result<nlohmann::json>& status,
                 Report& report);
// Forwarding, addresses, rules, routes, XFRM.
void check_layers(const core::Config& config, const core::NetworkView& network, Report& report);
void check_foreign(const core::Config& config, const core::NetworkView& network, Report& report);
void check_offloads(const core::Config& config, const core::NetworkView& network, Report& report);

} // namespace penstock::doctor
