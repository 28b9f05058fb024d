// The system's own tools, for what has no better interface. Their output is JSON.
#pragma once

#include "agent/base/result.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace penstock::doctor {

// ENOENT: not installed. An answer that is empty is null.
Result<nlohmann::json> ask_tool(const std::vector<std::string>& argv);

} // namespace penstock::doctor
