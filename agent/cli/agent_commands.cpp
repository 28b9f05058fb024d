#include "agent/cli/agent_commands.hpp"

#include "agent/base/file.hpp"
#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/client.hpp"
#include "agent/cli/command.hpp"
#include "agent/cli/display.hpp"
#include "agent/cli/event_summary.hpp"
#include "agent/cli/format.hpp"
#include "policy/bundle/verify.hpp"
#include "policy/oracle.hpp"
#include "policy/payload.hpp"
#include "policy/text.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>
#include <unistd.h>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kSummary{1000};
constexpr const char* kReveal = "MAC and IP addresses in place of pseudonyms; recorded in the audit log";
// How long `tunnel up` and `tunnel rekey` wait for what they began.
constexpr std::chrono::seconds kTunnelPatience{5};

std::string show_gate_of(const Json& answer) { return show_gate(answer.value("gate", Json::object())); }
std::string show_done(const Json&) { return "done\n"; }

void stream_events(const Command& command, bool follow, bool reveal) {
    auto client = Client::connect(command.socket);
    if (!client)
        return command.failed(client.error());
    if (auto ok = client->send({{"op", "events"}, {"follow", follow}, {"reveal", reveal}}); !ok)
        return command.failed(ok.error());
    // Programs get every event; a person gets drops by device and reason, once a second.
    EventSummary drops;
    auto next = std::chrono::steady_clock::now() + kSummary;
    for (;;) {
        const auto event = client->receive_within(kSummary);
        if (const auto now = std::chrono::steady_clock::now(); !event || now >= next) {
            std::cout << drops.flush() << std::flush;
            next = now + kSummary;
        }
        if (!event)
            return command.failed(event.error());
        if (!*event)
            continue;
        if ((*event)->contains("ok"))
            break;
        if (command.json)
            std::cout << (*event)->dump() << "\n" << std::flush;
        else if (!drops.take(**event))
            std::cout << drops.flush() << show_event(**event) << std::flush; // in the order of time
    }
    std::cout << drops.flush();
}

// Again and again, also while the agent restarts.
void watch_status(const Command& command, double seconds) {
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    for (;;) {
        const auto answer = command.ask({{"op", "status"}});
        std::string text;
        if (command.json)
            text = (answer ? answer->dump() : Json{{"ok", false}, {"error", answer.error().message()}}.dump()) + "\n";
        else
            text = answer ? show_status(*answer) : wrap("penstock: " + answer.error().message(), 0) + "\n";
        std::cout << (terminal && !command.json ? "\033[H\033[J" : "") << text << (terminal || command.json ? "" : "\n")
                  << std::flush;
        if (!std::cout)
            return;
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    }
}

struct Question {
    std::string device, to, from, proto, bundle;
    unsigned port = 0;
};

// From a file: what the policy in it says, whatever the gateway does at the moment.
Result<Json> explain_from_file(const Question& question) {
    const auto bytes = read_bundle_file(question.bundle);
    if (!bytes)
        return tl::unexpected(bytes.error());
    const auto envelope = policy::Envelope::parse(*bytes);
    if (!envelope)
        return fail(question.bundle, Error(envelope.error()));
    const auto rules = policy::from_payload(envelope->payload);
    if (!rules)
        return fail(question.bundle, Error(rules.error()));
    const auto asked =
        policy::read_question(question.device, question.to, question.from, question.proto, question.port);
    if (!asked)
        return tl::unexpected(asked.error());
    const auto verdict = policy::explain(*rules, policy::now(), *asked);
    if (!verdict)
        return tl::unexpected(verdict.error());
    return Json{{"ok", true},
                {"allow", verdict->allow},
                {"reason", std::string(policy::reason_name(verdict->reason))},
                {"citation", verdict->citation},
                {"device", verdict->device},
                {"service", verdict->service}};
}

void add_explain(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* explain = app.add_subcommand("explain", "say whether a device may reach an address, and by which rule");
    auto question = std::make_shared<Question>();
    auto run = command(explain, socket, exit_code);
    examples(explain,
             "  penstock explain --device thermostat-12 --to 203.0.113.10 --proto tcp --port 443\n"
             "  penstock explain --device camera-7 --to 2001:db8::20 --proto udp --port 4000 --bundle new.bundle");
    explain->add_option("--device", question->device, "name in the policy")->required();
    auto* to = explain->add_option("--to", question->to, "address the device sends to");
    explain->add_option("--from", question->from, "address that sends to the device")->excludes(to);
    explain->add_option("--proto", question->proto, "tcp, udp, icmp or icmpv6")->required();
    explain->add_option("--port", question->port, "destination port; of ICMP, the type");
    explain->add_option("--bundle", question->bundle, "ask this bundle, not the gateway");
    explain->callback([question, run] {
        auto answer = question->bundle.empty() ? run->ask({{"op", "explain"},
                                                           {"device", question->device},
                                                           {"to", question->to},
                                                           {"from", question->from},
                                                           {"proto", question->proto},
                                                           {"port", question->port}})
                                               : explain_from_file(*question);
        if (answer)
            run->print(*answer, show_explanation);
        else
            run->failed(answer.error());
    });
}

// All of them if the name is empty.
void show_devices_called(const Command& command, const std::string& name, bool reveal) {
    auto answer = command.ask({{"op", "devices"}, {"reveal", reveal}});
    if (!answer)
        return command.failed(answer.error());
    if (name.empty())
        return command.print(*answer, show_devices);
    Json found = Json::array();
    std::vector<std::string> names;
    for (const auto& device : answer->value("devices", Json::array())) {
        names.push_back(text_of(device, "name"));
        if (names.back() == name)
            found.push_back(device);
    }
    if (found.empty())
        return command.failed(
            Error("the policy has no device " + policy::quote(name) +
                  policy::did_you_mean(name, std::vector<std::string_view>(names.begin(), names.end()))));
    command.print({{"ok", true}, {"devices", found}},
                  [](const Json& one) { return show_devices(one) + show_device(one["devices"][0]); });
}

Result<Json> tunnel_called(const Command& command, const std::string& name) {
    const auto answer = command.ask({{"op", "tunnels"}});
    if (!answer)
        return tl::unexpected(answer.error());
    for (const auto& tunnel : answer->value("tunnels", Json::array()))
        if (text_of(tunnel, "name") == name)
            return tunnel;
    return Json::object();
}

// Says what came of it, not only that it was begun.
void change_tunnel(const Command& command, const std::string& action, const std::string& name) {
    const auto before = tunnel_called(command, name);
    if (!before)
        return command.failed(before.error());
    const auto begun = command.ask({{"op", "tunnel"}, {"action", action}, {"name", name}});
    if (!begun)
        return command.failed(begun.error());
    const auto finished = [&](const Json& tunnel) {
        const bool up = text_of(tunnel, "state") == "up";
        return action == "up"      ? up
               : action == "rekey" ? up && text_of(tunnel, "spi_out") != text_of(*before, "spi_out")
                                   : !up;
    };
    const auto until = std::chrono::steady_clock::now() + kTunnelPatience;
    auto now = tunnel_called(command, name);
    while (now && !finished(*now) && std::chrono::steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        now = tunnel_called(command, name);
    }
    if (!now)
        return command.failed(now.error());
    if (!finished(*now))
        return command.failed(Error(
            "tunnel " + name + " is " + text_of(*now, "state") + " after " + std::to_string(kTunnelPatience.count()) +
            " s; it goes on trying: " + text_of(*now, "trouble", "no answer from the peer yet")));
    command.print({{"ok", true}, {"tunnel", name}, {"action", action}, {"state", text_of(*now, "state")}},
                  [](const Json& done) {
                      return "tunnel " + text_of(done, "tunnel") + " is " + text_of(done, "state") +
                             (text_of(done, "action") == "rekey" ? " with new keys" : "") + "\n";
                  });
}

void add_tunnel(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* tunnel = app.add_subcommand("tunnel", "list tunnels, or take one up or down, or rekey it");
    tunnel->require_subcommand(1);
    examples(tunnel, "  penstock tunnel list\n"
                     "  penstock tunnel rekey cloud\n"
                     "  penstock tunnel down cloud      # until `tunnel up`, also over a restart of penstock-ike");
    auto* list = tunnel->add_subcommand("list", "state, cipher and SPIs of each tunnel");
    auto run = command(list, socket, exit_code);
    examples(list, "  penstock tunnel list\n"
                   "  penstock tunnel list --json | jq '.tunnels[].state'");
    list->callback([run] { run->ask_and_print({{"op", "tunnels"}}, show_tunnels); });
    const std::pair<std::string, std::string> actions[] = {
        {"up", "bring tunnel NAME up"}, {"down", "take tunnel NAME down"}, {"rekey", "give tunnel NAME new keys"}};
    for (const auto& [action, help] : actions) {
        auto* one = tunnel->add_subcommand(action, help);
        auto name = std::make_shared<std::string>();
        auto act = command(one, socket, exit_code);
        one->add_option("NAME", *name, "tunnel of the configuration")->required();
        examples(one, "  penstock tunnel " + action + " cloud");
        one->callback([=, action = action] { change_tunnel(*act, action, *name); });
    }
}

// Asks on a terminal; a script says --yes.
bool confirmed(bool yes) {
    if (yes)
        return true;
    if (!isatty(STDIN_FILENO))
        return false;
    std::cout << "The devices' traffic will no longer be guarded. Type \"release\" to go on: " << std::flush;
    std::string word;
    std::getline(std::cin, word);
    return word == "release";
}

void add_guard(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* guard = app.add_subcommand("guard", "the gate itself");
    guard->require_subcommand(1);
    examples(guard, "  penstock guard status\n"
                    "  penstock guard release          # asks; `systemctl restart penstockd` closes it again");
    auto* status = guard->add_subcommand("status", "is the gate closed, and on which interfaces");
    auto look = command(status, socket, exit_code);
    examples(status, "  penstock guard status");
    status->callback([look] { look->ask_and_print({{"op", "guard"}, {"action", "status"}}, show_gate_of); });
    auto* clear =
        guard->add_subcommand("clear-witness", "forward again after the witness saw a frame in clear (root only)");
    auto forgive = command(clear, socket, exit_code);
    clear->callback([forgive] { forgive->ask_and_print({{"op", "guard"}, {"action", "clear-witness"}}, show_done); });
    auto* release = guard->add_subcommand("release", "take the guard away (root only) until penstockd starts again");
    auto yes = std::make_shared<bool>(false);
    auto act = command(release, socket, exit_code);
    release->add_flag("--yes", *yes, "do not ask");
    examples(release, "  penstock guard release\n"
                      "  penstock guard release --yes    # in a script");
    release->callback([=] {
        if (!confirmed(*yes))
            return act->failed(Error("not released; confirm with \"release\" on a terminal, or with --yes"));
        act->ask_and_print({{"op", "guard"}, {"action", "release"}}, show_done);
    });
}

} // namespace

void add_agent_commands(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* status = app.add_subcommand("status", "gate, tunnels, policy, devices and drops on one screen");
    auto show = command(status, socket, exit_code);
    auto again = std::make_shared<bool>(false);
    auto seconds = std::make_shared<double>(2);
    auto* watch_flag = status->add_flag("--watch", *again, "again and again until interrupted");
    status->add_option("--interval", *seconds, "seconds between two looks of --watch")
        ->needs(watch_flag)
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    examples(status, "  penstock status\n"
                     "  penstock status --watch\n"
                     "  penstock status --json | jq .gate.state");
    status->callback([=] {
        if (*again)
            return watch_status(*show, *seconds);
        show->ask_and_print({{"op", "status"}}, show_status);
    });

    auto* devices = app.add_subcommand("devices", "every device of the policy and its traffic");
    auto list = command(devices, socket, exit_code);
    auto name = std::make_shared<std::string>();
    devices->add_option("NAME", *name, "only this one, with its groups and addresses");
    examples(devices, "  penstock devices\n"
                      "  penstock devices thermostat-12\n"
                      "  penstock devices --reveal       # recorded in the audit log\n"
                      "  penstock devices --json | jq '.devices[] | select(.dropped > 0)'");
    auto name_all = std::make_shared<bool>(false);
    devices->add_flag("--reveal", *name_all, kReveal);
    devices->callback([=] { show_devices_called(*list, *name, *name_all); });

    auto* events = app.add_subcommand("events", "what happened lately");
    auto follow = std::make_shared<bool>(false);
    auto watch = command(events, socket, exit_code);
    events->add_flag("--follow,-f", *follow, "go on until interrupted");
    examples(events, "  penstock events\n"
                     "  penstock events --follow        # drops by device and reason, once a second\n"
                     "  penstock events --follow --json # each event, one a line");
    auto reveal = std::make_shared<bool>(false);
    events->add_flag("--reveal", *reveal, kReveal);
    events->callback([=] { stream_events(*watch, *follow, *reveal); });

    add_tunnel(app, socket, exit_code);
    add_explain(app, socket, exit_code);
    add_guard(app, socket, exit_code);
}

} // namespace penstock::cli
