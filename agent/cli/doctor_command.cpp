#include "agent/cli/doctor_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/client.hpp"
#include "agent/cli/format.hpp"
#include "agent/doctor/doctor.hpp"

#include <algorithm>
#include <iostream>

namespace penstock::cli {
namespace {

using doctor::Finding;
using doctor::Verdict;
using Json = nlohmann::json;

const char* name_of(Verdict verdict) {
    switch (verdict) {
    case Verdict::ok:
        return "ok";
    case Verdict::warning:
        return "warning";
    case Verdict::wrong:
        break;
    }
    return "wrong";
}

Tone tone_of(Verdict verdict) {
    return verdict == Verdict::ok ? Tone::good : verdict == Verdict::warning ? Tone::doubtful : Tone::bad;
}

std::string show(const Finding& finding) {
    constexpr std::size_t kIndent = 9;
    const auto verdict = format("%-8s ", name_of(finding.verdict));
    auto out =
        wrap(paint(verdict, tone_of(finding.verdict)) + finding.check + ": " + harmless(finding.what), kIndent) + "\n";
    if (!finding.mend.empty())
        out += wrap(std::string(kIndent, ' ') + "mend: " + finding.mend, kIndent + 6) + "\n";
    return out;
}

void examine(const std::string& socket, const std::string& config, bool json, int& exit_code) {
    auto client = Client::connect(socket);
    const auto status = client ? client->ask({{"op", "status"}}) : Result<Json>(tl::unexpected(client.error()));
    const auto findings = doctor::examine(config, status);
    const auto count = [&](Verdict verdict) { return std::ranges::count(findings, verdict, &Finding::verdict); };
    const auto wrong = count(Verdict::wrong), warnings = count(Verdict::warning), good = count(Verdict::ok);
    exit_code = wrong == 0 ? kDone : kRefused;
    if (json) {
        Json list = Json::array();
        for (const auto& one : findings)
            list.push_back(
                {{"check", one.check}, {"verdict", name_of(one.verdict)}, {"what", one.what}, {"mend", one.mend}});
        std::cout << Json{{"ok", wrong == 0}, {"findings", list}, {"warnings", warnings}, {"wrong", wrong}}.dump(2)
                  << "\n";
        return;
    }
    for (const auto& one : findings)
        std::cout << show(one);
    std::cout << good << " ok, " << warnings << (warnings == 1 ? " warning, " : " warnings, ") << wrong << " wrong\n";
}

} // namespace

void add_doctor_command(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* command = app.add_subcommand("doctor", "look at machine, gate and files, and say how to mend what is wrong");
    auto config = std::make_shared<std::string>("/etc/penstock/penstock.toml");
    auto json = std::make_shared<bool>(false);
    command->add_option("--config", *config, "configuration of the gateway")->capture_default_str();
    command->add_flag("--json", *json, "answer in JSON");
    command->footer("Examples:\n"
                    "  penstock doctor\n"
                    "  penstock doctor --json | jq '.findings[] | select(.verdict != \"ok\")'\n"
                    "Exit status 1 if anything is wrong. Works with penstockd dead, too.");
    command->callback([=, &socket, &exit_code] { examine(socket, *config, *json, exit_code); });
}

} // namespace penstock::cli
