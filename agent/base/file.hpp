// Whole files: read with a limit, written so that a crash leaves the old or the new one and never half of either.
#pragma once

#include "agent/base/result.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace penstock {

Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);
// Temporary file beside it, fsync, rename, fsync of the folder.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode = 0600);

} // namespace penstock
