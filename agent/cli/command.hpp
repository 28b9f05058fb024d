// What every command has that asks the agent over its socket.
#pragma once

#include "agent/base/result.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace penstock::cli {

struct Command {
    using Show = std::string (*)(const nlohmann::json&);

    const std::string& socket;
    int& exit_code;
    bool json = false;

    // Prints the error, and sets the exit code.
    void failed(const Error& error) const;
    void print(const nlohmann::json& answer, Show show) const;
    [[nodiscard]] Result<nlohmann::json> ask(const nlohmann::json& request, std::string_view body = {}) const;
    void ask_and_print(const nlohmann::json& request, Show show, std::string_view body = {}) const;
};

void examples(CLI::App* app, const std::string& lines);

// With its --json. Both references must outlive the parse.
std::shared_ptr<Command> command(CLI::App* app, const std::string& socket, int& exit_code);

} // namespace penstock::cli
