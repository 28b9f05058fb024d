// The system's own tools, for what has no better interface: without a shell, and waited for.
#pragma once

#include "agent/base/result.hpp"

#include <string>
#include <vector>

namespace penstock {

enum class Stderr { drop, join }; // join: into what it says

// What it said on standard output. Found on the PATH or in /usr/sbin; ENOENT: not installed. An error has what it said
// if it said anything. No more than 64 MiB are read.
Result<std::string> run_tool(const std::vector<std::string>& argv, Stderr errors = Stderr::drop);

} // namespace penstock
