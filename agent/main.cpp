// penstockd: reads the configuration, builds the agent, runs the loop, turns errors into exit codes.
#include "agent/base/event_loop.hpp"
#include "agent/base/log.hpp"
#include "agent/control/server.hpp"
#include "agent/core/agent.hpp"
#include "agent/core/arm.hpp"
#include "agent/core/machine.hpp"
#include "agent/core/preflight.hpp"
#include "agent/core/release.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <ctime>
#include <iostream>
#include <sys/prctl.h>
#include <systemd/sd-daemon.h>

namespace {

using namespace penstock;

constexpr auto kApiIdle = std::chrono::seconds(60);

unsigned long long monotonic_us() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<unsigned long long>(now.tv_sec) * 1'000'000 +
           static_cast<unsigned long long>(now.tv_nsec) / 1000;
}

// Everything that is wrong with the file and what it names; warnings alone are no reason to fail.
int check_config(const std::string& file) {
    const auto config = core::Config::load(file);
    if (!config) {
        std::cerr << config.error().message() << "\n";
        return 1;
    }
    const auto found = core::preflight(*config);
    for (const auto& what : found.wrong)
        std::cerr << file << ": " << what << "\n";
    for (const auto& what : found.warnings)
        std::cerr << file << ": warning: " << what << "\n";
    if (!found.wrong.empty())
        return 1;
    std::cout << file << ": good\n";
    return 0;
}

// What penstock-api and penstock-pull ask at. Without it clients elsewhere hear nothing and no bundle is fetched; the
// gate is as closed as with it.
std::unique_ptr<control::Server> serve_api(EventLoop& loop, const std::filesystem::path& path, const std::string& user,
                                           core::Requests& requests) {
    auto access = control::Access::api(user);
    auto server =
        access ? control::Server::listen(loop, path, requests, kApiIdle, *access) : tl::unexpected(access.error());
    if (server)
        return std::move(*server);
    log::error("api_not_served", {{"why", server.error().message()}});
    return nullptr;
}

Status run(core::Config config) {
    if (auto ok = core::check_capabilities(core::Task::agent); !ok) {
        (void)core::shut_forwarding(config); // as far as they reach: an ordinary user's penstockd changes nothing
        return ok;
    }
    const auto control_path = config.control_socket(), api_path = config.api_socket();
    const auto user = config.api      ? std::optional(config.api->user)
                      : config.bundle ? std::optional(config.bundle->user)
                                      : std::nullopt;
    auto loop = EventLoop::make();
    if (!loop)
        return tl::unexpected(loop.error());
    auto privacy = core::Privacy::make(config);
    if (!privacy)
        return tl::unexpected(privacy.error());
    core::Agent agent(std::move(config), **loop, std::move(*privacy));
    // Before anything is touched: a second instance must not fight the first one.
    auto control = control::Server::listen(**loop, control_path, agent);
    if (!control)
        return tl::unexpected(control.error());
    const auto api_server = user ? serve_api(**loop, api_path, *user, agent) : nullptr;
    std::vector<EventSource> signals;
    for (const int signal : {SIGTERM, SIGINT}) {
        auto source = (*loop)->on_signal(signal, [&loop] { (*loop)->stop(); });
        if (!source)
            return tl::unexpected(source.error());
        signals.push_back(std::move(*source));
    }
    auto reload = (*loop)->on_signal(SIGHUP, [&agent] {
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", monotonic_us());
        agent.reload();
        sd_notify(0, "READY=1");
    });
    if (!reload)
        return tl::unexpected(reload.error());
    if (auto ok = agent.start(); !ok)
        return ok;
    (*loop)->watch_dog();
    sd_notify(0, "READY=1");
    log::info("ready");
    if (auto ok = (*loop)->run(); !ok)
        return ok;
    // The gate stays closed and kernel SAs stay up: whoever starts next takes them over.
    log::info("stopped", {{"gate", "closed"}});
    return {};
}

} // namespace

int main(int argc, char** argv) {
    prctl(PR_SET_DUMPABLE, 0);     // no core file: the storage key is in it
    std::signal(SIGPIPE, SIG_IGN); // a closed log or control connection is an error of write(), not the end
    std::string file = "/etc/penstock/penstock.toml", check;
    CLI::App app("penstockd: IPsec tunnels and a closed gate for the devices behind this gateway");
    app.set_version_flag("--version", PENSTOCK_VERSION);
    app.add_option("--config", file, "configuration file")->capture_default_str();
    app.add_option("--check-config", check, "check this configuration file and exit; changes nothing");
    auto* guard = app.add_subcommand("guard", "the gate without the agent")->fallthrough();
    guard->require_subcommand(1);
    const auto* arm =
        guard->add_subcommand("arm", "put up the gate from the configuration alone, before the network, and exit")
            ->fallthrough();
    const auto* release =
        guard->add_subcommand("release", "take the gate out of the kernel while no penstockd runs, and exit")
            ->fallthrough();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    if (!check.empty())
        return check_config(check);
    auto config = core::Config::load(file);
    if (!config) {
        std::cerr << "penstockd: " << config.error().message() << "\n";
        if (!release->parsed())
            return 1;
        std::cerr << "penstockd: releasing a gate with the defaults\n";
        config = core::Config{};
    }
    auto ok = release->parsed() ? core::release(*config) : arm->parsed() ? core::arm(*config) : run(std::move(*config));
    if (!ok) {
        log::error("failed", {{"why", ok.error().message()}});
        std::cerr << "penstockd: " << ok.error().message() << "\n";
        return 1;
    }
    return 0;
}
