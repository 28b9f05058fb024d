// `penstock bundle keygen|init-root|rotate-root|build|sign|verify|inspect|diff`: needs no daemon and no root.
#pragma once

#include <CLI/CLI.hpp>

namespace penstock::cli {

inline constexpr int kDone = 0;
inline constexpr int kRefused = 1; // refused or failed; a sentence on stderr, or {"ok":false,"error":...} with --json
inline constexpr int kWrongUsage = 2; // what main returns for a CLI::ParseError other than help

// Adds "bundle" and its subcommands to app. The chosen one runs inside app.parse(), prints, and sets exit_code, which
// must outlive the parse. Each takes --json.
void add_bundle_commands(CLI::App& app, int& exit_code);

} // namespace penstock::cli
