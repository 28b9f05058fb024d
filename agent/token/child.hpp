// Work that a token's module does, in a process of its own.
#pragma once

#include "agent/base/result.hpp"

#include <functional>
#include <string>

namespace penstock::token {

// Runs work in a child process and returns what it returned. A module is foreign code: what it breaks, changes or
// leaves behind ends with the child, and a child that crashes is an error. What it prints goes to stderr. No other
// thread may run.
Result<std::string> in_child(const std::function<Result<std::string>()>& work);

} // namespace penstock::token
