#include "agent/cli/push_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/command.hpp"

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

std::string show_message(const Json& answer) { return answer.value("message", "done") + "\n"; }

} // namespace

void add_push_command(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* push = app.add_subcommand("push", "give the gateway a signed bundle");
    auto file = std::make_shared<std::string>();
    auto dry_run = std::make_shared<bool>(false);
    auto run = command(push, socket, exit_code);
    examples(push, "  penstock push --dry-run policy.bundle\n"
                   "  penstock push policy.bundle\n"
                   "  penstock push root-2.json");
    push->add_option("FILE", *file, "signed bundle, or root document")->required();
    push->add_flag("--dry-run", *dry_run, "verify only; change nothing");
    push->callback([=] {
        const auto bundle = read_bundle_file(*file);
        if (!bundle)
            return run->failed(bundle.error());
        run->ask_and_print({{"op", "push"}, {"size", bundle->size()}, {"dry_run", *dry_run}}, show_message, *bundle);
    });
}

} // namespace penstock::cli
