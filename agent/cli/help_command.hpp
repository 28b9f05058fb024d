// `penstock help [COMMAND]...`: the same text as `penstock COMMAND --help`.
#pragma once

#include <CLI/CLI.hpp>

namespace penstock::cli {

// Added last: it finds the commands that app has then. exit_code must outlive the parse.
void add_help_command(CLI::App& app, int& exit_code);

} // namespace penstock::cli
