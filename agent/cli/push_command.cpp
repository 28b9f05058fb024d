#include "agent/cli/push_command.hpp"

#include "agent/cli/bundle_commands.hpp"
#include "agent/cli/client.hpp"
#include "agent/cli/command.hpp"
#include "agent/cli/format.hpp"
#include "agent/cli/remote.hpp"

#include <array>
#include <cstdio>
#include <iostream>
#include <unistd.h>
#include <vector>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kWorthShowing = 1U << 20; // bytes

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
    bool dry_run = false;
    unsigned wait = 0; // seconds; 0: not asked for
    std::vector<std::string> probes;
    Remote remote;
};

// Says what is in force as soon as it is, then what came of it. Programs get one answer, the last one, with what the
// first one told.
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
        std::cout << show_push(*begun) << "It goes back by itself at " << human_time(until)
                  << " unless the gateway is found well." << std::endl;
    auto end = client->await();
    if (!end)
        return command.failed(Error("penstockd went away while the policy waits to be found well; at " + until +
                                    " it goes back by itself (" + end.error().message() +
                                    "); look again: penstock status"));
    if (!end->value("ok", false) && !command.json)
        return command.failed(Error(text_of(*end, "error")));
    for (const char* key : {"changed", "changed_left_out", "took_ms", "waits_until"})
        if (begun->contains(key))
            (*end)[key] = (*begun)[key];
    if (!end->value("ok", false))
        command.exit_code = kRefused;
    command.print(*end, [](const Json& done) { return text_of(done, "message") + "\n"; });
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

void push_elsewhere(const Command& command, const Remote& remote, std::string_view bundle, bool dry_run) {
    const auto answer = push_to(remote, bundle, dry_run, progress_of(bundle.size()));
    if (isatty(STDERR_FILENO) != 0)
        std::fputs("\r\033[K", stderr);
    if (!answer)
        return command.failed(answer.error());
    if (!answer->value("ok", false))
        return command.failed(Error(text_of(*answer, "error", remote.to + " refused without a reason")));
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
        return push_elsewhere(command, given.remote, *bundle, given.dry_run);
    Json request = {{"op", "push"}, {"size", bundle->size()}, {"dry_run", given.dry_run}};
    if (given.wait == 0)
        return command.ask_and_print(request, show_push, *bundle);
    request["wait_healthy"] = given.wait;
    request["probe"] = given.probes;
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
    push->add_flag("--dry-run", given->dry_run,
                   "verify and compile on the gateway, say what would change; change nothing");
    auto* wait = push->add_option("--wait-healthy", given->wait,
                                  "go back to the policy before, unless the gateway is well in so many seconds")
                     ->check(CLI::Range(5, 3600));
    push->add_option("--probe", given->probes, "well is: packets of this device go and come (else: the tunnels are up)")
        ->needs(wait)
        ->allow_extra_args(false);
    add_remote_options(*push, given->remote)->excludes(wait); // who is not on the gateway may be cut off by the policy
    push->callback([=] { run_push(*run, *given); });
}

} // namespace penstock::cli
