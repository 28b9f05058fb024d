// `penstock status|devices|tunnel|events|explain|guard`: what the agent is asked over its socket.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

// As add_bundle_commands(): the chosen one runs inside app.parse() and sets exit_code. Both references must outlive the
// parse.
void add_agent_commands(CLI::App& app, const std::string& socket, int& exit_code);

} // namespace penstock::cli
