// Whole files: read with a limit, written so that a crash leaves the old or the new one and never half of either.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace penstock {

// limit: bytes; a larger file is an error with the code EFBIG.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit);

// Of files that decide what is trusted. Refused is what is no regular file, belongs to anybody but root and the user of
// this process, or may be written by a group or by others; a secret also if others may read it (a group of its own
// may).
Result<Fd> open_guarded(const std::filesystem::path& path, bool secret = false);
// Checks and reads the same open file.
Result<std::string> read_guarded(const std::filesystem::path& path, std::size_t limit, bool secret = false);

enum class Existing { replace, refuse }; // refuse: EEXIST

// Temporary file beside it, fsync, rename, fsync of the folder. replace keeps the permissions of what was there; mode
// is for new files and does not heed the umask.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode = 0600,
                             Existing existing = Existing::replace);

// On disk when it returns; after an error, part of it may be in the file. A new file has the mode 0600.
Status append_to_file(const std::filesystem::path& path, std::string_view content);

// Makes the folder if it is not there, and holds it (flock) until the descriptor is closed or the process ends.
// EWOULDBLOCK: another process holds it.
Result<Fd> lock_folder(const std::filesystem::path& path);

} // namespace penstock
