// penstock: what a person types.
#include "agent/cli/agent_commands.hpp"
#include "agent/cli/audit_command.hpp"
#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/doctor_command.hpp"
#include "agent/cli/help_command.hpp"
#include "agent/cli/push_command.hpp"
#include "agent/cli/setup_command.hpp"
#include "policy/text.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>

namespace {

// "; did you mean ...?" for the first word that is no command.
std::string suggestion(const CLI::App& app, int argc, char** argv) {
    std::vector<std::string> names;
    for (const auto* command : app.get_subcommands(nullptr))
        names.push_back(command->get_name());
    for (int i = 1; i < argc; i++) {
        const std::string word = argv[i];
        if (word.starts_with('-') || std::ranges::find(names, word) != names.end())
            return "";
        return "penstock: there is no command " + penstock::policy::quote(word) +
               penstock::policy::did_you_mean(word, std::vector<std::string_view>(names.begin(), names.end())) + "\n";
    }
    return "";
}

} // namespace

int main(int argc, char** argv) {
    using namespace penstock::cli;
    std::string socket = "/run/penstock/control.sock";
    int exit_code = kDone;
    CLI::App app("penstock: ask and steer the agent that guards this gateway's devices");
    app.set_version_flag("--version", PENSTOCK_VERSION);
    app.add_option("--socket", socket, "control socket of penstockd")
        ->envname("PENSTOCK_SOCKET")
        ->capture_default_str();
    app.require_subcommand(1);
    app.footer("Examples:\n"
               "  penstock status\n"
               "  penstock explain --device thermostat-12 --to 203.0.113.10 --proto tcp --port 443\n"
               "  penstock doctor\n"
               "  penstock bundle build policy.yaml --out policy.bundle\n"
               "  penstock bundle sign --key alice.pem policy.bundle\n"
               "  penstock push policy.bundle\n"
               "Exit status: 0 done, 1 refused or failed, 2 wrong usage.");
    add_agent_commands(app, socket, exit_code);
    add_push_command(app, socket, exit_code);
    add_audit_command(app, socket, exit_code);
    add_doctor_command(app, socket, exit_code);
    add_setup_command(app, exit_code);
    add_bundle_commands(app, exit_code);
    add_help_command(app, exit_code);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() != 0)
            std::cerr << suggestion(app, argc, argv);
        return app.exit(error) == 0 ? kDone : kWrongUsage;
    }
    return exit_code;
}
