#include "agent/cli/push_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/command.hpp"
#include "agent/cli/format.hpp"

#include <array>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

// As penstockd goes through them.
constexpr std::array kSteps = {"verify", "parse", "compile", "tables", "store", "switch", "compare"};

std::string show_times(const Json& took) {
    std::string out;
    for (const char* step : kSteps)
        if (const auto found = took.find(step); found != took.end() && found->is_number())
            out += (out.empty() ? "" : ", ") + std::string(step) + format(" %.1f ms", found->get<double>());
    return out.empty() ? "" : wrap("took: " + out, 6) + "\n";
}

std::string show_push(const Json& answer) {
    auto out = answer.value("message", "done") + "\n";
    for (const auto& line : answer.value("changed", Json::array()))
        out += "  " + harmless(line.is_string() ? line.get<std::string>() : "") + "\n";
    if (answer.contains("changed_left_out"))
        out += "  and " + text_of(answer, "changed_left_out") + " lines more: penstock bundle diff OLD NEW\n";
    return out + show_times(answer.value("took_ms", Json::object()));
}

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
    push->add_flag("--dry-run", *dry_run, "verify and compile on the gateway, say what would change; change nothing");
    push->callback([=] {
        const auto bundle = read_bundle_file(*file);
        if (!bundle)
            return run->failed(bundle.error());
        run->ask_and_print({{"op", "push"}, {"size", bundle->size()}, {"dry_run", *dry_run}}, show_push, *bundle);
    });
}

} // namespace penstock::cli
