// `penstock doctor`: asks the agent if it lives, and the kernel itself.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

// As add_agent_commands(): exit_code is 1 if anything is wrong. Both references must outlive the parse.
void add_doctor_command(CLI::App& app, const std::string& socket, int& exit_code);

} // namespace penstock::cli
