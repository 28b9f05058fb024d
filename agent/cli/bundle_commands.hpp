// `penstock bundle keygen|init-root|rotate-root|build|sign|verify|inspect|diff`: needs no daemon and no root.
#pragma once

#include "agent/base/result.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

inline constexpr int kDone = 0;
inline constexpr int kRefused = 1; // refused or failed; a sentence on stderr, or {"ok":false,"error":...} with --json
inline constexpr int kWrongUsage = 2; // what main returns for a CLI::ParseError other than help

// A file that should be an envelope; what people write, before it is built, is recognised by its name.
Result<std::string> read_bundle_file(const std::string& path);

// Adds "bundle" and its subcommands to app. The chosen one runs inside app.parse(), prints, and sets exit_code, which
// must outlive the parse. Each takes --json.
void add_bundle_commands(CLI::App& app, int& exit_code);

} // namespace penstock::cli
