// Whole files, named by the caller: read under a limit, written so that no reader ever sees half of one.
#pragma once

#include "agent/base/result.hpp"
#include "policy/limits.hpp"

#include <string>
#include <string_view>
#include <sys/types.h>

namespace penstock::policy {

Result<std::string> read_file(const std::string& path, const Limit& limit);

enum class Existing { replace, refuse };

// Temporary file in the same folder, fsync, rename. replace keeps the permissions of what was there; mode is for new
// ones.
Status write_file(const std::string& path, std::string_view content, mode_t mode, Existing existing);

} // namespace penstock::policy
