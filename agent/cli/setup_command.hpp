// `penstock setup`: from questions to a working configuration, and into force.
#pragma once

#include <CLI/CLI.hpp>

namespace penstock::cli {

// As add_bundle_commands(): needs no daemon.
void add_setup_command(CLI::App& app, int& exit_code);

} // namespace penstock::cli
