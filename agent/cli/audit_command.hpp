// penstock audit: who changed what, and whether the log of it is whole.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

void add_audit_command(CLI::App& app, const std::string& socket, int& exit_code);

} // namespace penstock::cli
