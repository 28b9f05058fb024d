// `penstock push`: a bundle, or root documents, for the agent.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

// As add_bundle_commands(). Both references must outlive the parse.
void add_push_command(CLI::App& app, const std::string& socket, int& exit_code);

} // namespace penstock::cli
