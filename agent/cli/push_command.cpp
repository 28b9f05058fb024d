#include "agent/cli/push_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/client.hpp"
#include "agent/cli/command.hpp"
#include "agent/cli/format.hpp"
#include "agent/cli/remote.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <thread>
#include <unistd.h>
#include <vector>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kWorthShowing = 1U << 20;               // bytes
constexpr std::chrono::seconds kAskAgain{1}, kAfterwards{20}; // after the wait: the gateway looks every few seconds

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

struct Given {
    std::string file;
    PushTerms terms;
    Remote remote;
};

std::string show_begun(const Json& begun) {
    return show_push(begun) + "It goes back by itself at " + human_time(text_of(begun, "waits_until")) +
           " unless the gateway is found well.\n";
}

// What came of a push that waited. Programs get one answer, with what the first one told.
void print_outcome(const Command& command, const Json& begun, Json end) {
    if (!end.value("ok", false) && !command.json)
        return command.failed(Error(text_of(end, "error")));
    for (const char* key : {"version", "changed", "changed_left_out", "took_ms", "waits_until"})
        if (begun.contains(key))
            end[key] = begun[key];
    if (!end.value("ok", false))
        command.exit_code = kRefused;
    command.print(end, [](const Json& done) { return text_of(done, "message") + "\n"; });
}

// Says what is in force as soon as it is, then what came of it.
void push_and_wait(const Command& command, const Json& request, const std::string& bundle) {
    auto client = Client::connect(command.socket);
    if (!client)
        return command.failed(client.error());
    const auto begun = client->ask(request, bundle);
    if (!begun)
        return command.failed(begun.error());
    if (!begun->contains("waits_until"))
        return command.print(*begun, show_push);
    const auto until = text_of(*begun, "waits_until");
    if (!command.json)
        std::cout << show_begun(*begun) << std::flush;
    auto end = client->await();
    if (!end)
        return command.failed(Error("penstockd went away while the policy waits to be found well; at " + until +
                                    " it goes back by itself (" + end.error().message() +
                                    "); look again: penstock status"));
    print_outcome(command, *begun, std::move(*end));
}

// One line on a terminal, of uploads that one can see go.
Progress progress_of(std::size_t size) {
    if (isatty(STDERR_FILENO) == 0 || size < kWorthShowing)
        return [](std::size_t) {};
    return [size, shown = std::size_t{101}](std::size_t sent) mutable {
        const auto percent = sent * 100 / size;
        if (percent != shown)
            std::fprintf(stderr, "\rsent %zu %% of %s", shown = percent, human_size(double(size)).c_str());
        if (sent == size)
            std::fputs("\r\033[Kwaiting for the gateway\r", stderr);
    };
}

// What the gateway says of its policy tells what came of the push of this version; none: not decided yet.
std::optional<Json> outcome(const Json& policy, const std::string& version) {
    const bool in_force = text_of(policy, "version") == version;
    if (in_force && policy.contains("pending"))
        return std::nullopt;
    if (in_force)
        return Json{{"ok", true}, {"message", "version " + version + " stays in force"}};
    const auto reverted = policy.value("reverted_from", Json::object());
    if (text_of(reverted, "version") == version)
        return Json{{"ok", false},
                    {"error", "version " + version + " went back: " + text_of(reverted, "why") + "; version " +
                                  text_of(policy, "version") + " is in force again"},
                    {"went_back", true}};
    return Json{{"ok", false},
                {"error", "version " + version + " was not found well before another policy was pushed: version " +
                              text_of(policy, "version")}};
}

// The connection may be what the policy cuts off: who does not hear from the gateway asks again, until it must have
// decided.
void wait_elsewhere(const Command& command, const RemoteGateway& gateway, const Json& begun, unsigned seconds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds) + kAfterwards;
    if (!command.json)
        std::cout << show_begun(begun) << std::flush;
    for (;;) {
        const auto policy = gateway.policy();
        if (const auto end = policy ? outcome(*policy, text_of(begun, "version")) : std::nullopt)
            return print_outcome(command, begun, *end);
        if (std::chrono::steady_clock::now() > deadline)
            return command.failed(Error("what came of it is not known: " +
                                        (policy ? "the gateway has not decided in time" : policy.error().message()) +
                                        "; look there: penstock status"));
        std::this_thread::sleep_for(kAskAgain);
    }
}

void push_elsewhere(const Command& command, const Given& given, std::string_view bundle) {
    const auto gateway = RemoteGateway::make(given.remote);
    if (!gateway)
        return command.failed(gateway.error());
    const auto answer = gateway->push(bundle, given.terms, progress_of(bundle.size()));
    if (isatty(STDERR_FILENO) != 0)
        std::fputs("\r\033[K", stderr);
    if (!answer)
        return command.failed(answer.error());
    if (!answer->value("ok", false))
        return command.failed(Error(text_of(*answer, "error", given.remote.to + " refused without a reason")));
    if (answer->contains("waits_until"))
        return wait_elsewhere(command, *gateway, *answer, given.terms.wait);
    command.print(*answer, show_push);
}

// --to and what goes with it.
CLI::Option* add_remote_options(CLI::App& push, Remote& remote) {
    auto* to = push.add_option("--to", remote.to, "HOST:PORT of penstock-api of a gateway elsewhere");
    auto* cert = push.add_option("--cert", remote.certificate, "our certificate for it (PEM)")->needs(to);
    auto* key = push.add_option("--key", remote.key, "its private key (PEM)")->needs(to);
    auto* ca = push.add_option("--ca", remote.ca, "whose certificate the gateway must have (PEM)")->needs(to);
    to->needs(cert)->needs(key)->needs(ca);
    return to->check([](const std::string& text) {
        const auto place = HostPort::parse(text);
        return place ? "" : place.error().message();
    });
}

void run_push(const Command& command, const Given& given) {
    const auto bundle = read_bundle_file(given.file);
    if (!bundle)
        return command.failed(bundle.error());
    if (!given.remote.to.empty())
        return push_elsewhere(command, given, *bundle);
    Json request = {{"op", "push"}, {"size", bundle->size()}, {"dry_run", given.terms.dry_run}};
    if (given.terms.wait == 0)
        return command.ask_and_print(request, show_push, *bundle);
    request["wait_healthy"] = given.terms.wait;
    request["probe"] = given.terms.probes;
    push_and_wait(command, request, *bundle);
}

} // namespace

void add_push_command(CLI::App& app, const std::string& socket, int& exit_code) {
    auto* push = app.add_subcommand("push", "give the gateway a signed bundle");
    auto given = std::make_shared<Given>();
    auto run = command(push, socket, exit_code);
    examples(push, "  penstock push --dry-run policy.bundle\n"
                   "  penstock push policy.bundle\n"
                   "  penstock push --wait-healthy 60 --probe thermostat-12 policy.bundle\n"
                   "  penstock push root-2.json\n"
                   "  penstock push policy.bundle --to gw-1.example:8443 --cert ci.pem --key ci.key --ca ca.pem");
    push->add_option("FILE", given->file, "signed bundle, or root document")->required();
    push->add_flag("--dry-run", given->terms.dry_run,
                   "verify and compile on the gateway, say what would change; change nothing");
    auto* wait = push->add_option("--wait-healthy", given->terms.wait,
                                  "go back to the policy before, unless the gateway is well in so many seconds")
                     ->check(CLI::Range(5, 3600));
    push->add_option("--probe", given->terms.probes,
                     "well is: packets of this device go and come (else: the tunnels are up)")
        ->needs(wait)
        ->allow_extra_args(false);
    add_remote_options(*push, given->remote);
    push->callback([=] { run_push(*run, *given); });
}

} // namespace penstock::cli
