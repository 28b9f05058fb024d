#include "agent/cli/help_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "policy/text.hpp"

#include <iostream>
#include <memory>
#include <string_view>

namespace penstock::cli {
namespace {

void show_help(const CLI::App& app, const std::vector<std::string>& words, int& exit_code) {
    const CLI::App* chosen = &app;
    std::string path = app.get_name();
    for (const auto& word : words) {
        const CLI::App* next = nullptr;
        std::vector<std::string> names;
        for (const auto* command : chosen->get_subcommands(nullptr)) {
            names.push_back(command->get_name());
            if (names.back() == word)
                next = command;
        }
        if (next == nullptr) {
            const std::vector<std::string_view> known(names.begin(), names.end());
            std::cerr << "penstock: there is no command " << policy::quote(word) << policy::did_you_mean(word, known)
                      << "\n";
            exit_code = kWrongUsage;
            return;
        }
        chosen = next;
        path += " " + word;
    }
    std::cout << chosen->get_formatter()->make_help(chosen, path, CLI::AppFormatMode::Normal);
}

} // namespace

void add_help_command(CLI::App& app, int& exit_code) {
    auto* help = app.add_subcommand("help", "as --help, of penstock or of a command");
    auto words = std::make_shared<std::vector<std::string>>();
    help->add_option("COMMAND", *words, "such as: bundle sign");
    help->footer("Examples:\n"
                 "  penstock help\n"
                 "  penstock help bundle sign");
    help->callback([&app, &exit_code, words] { show_help(app, *words, exit_code); });
}

} // namespace penstock::cli
