// penstock-api: reads [api], listens, turns errors into exit codes. Everything it knows it asks penstockd.
#include "agent/api/server.hpp"
#include "agent/base/log.hpp"

#include <boost/asio/signal_set.hpp>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <sys/prctl.h>
#include <systemd/sd-daemon.h>

namespace {

using namespace penstock;

Status run(const core::ApiSettings& settings) {
    api::Service service{.config = *settings.api, .socket = settings.socket};
    boost::asio::io_context io(1);
    api::Server server(io, service, settings.lan);
    if (auto ok = server.start(); !ok)
        return ok;
    boost::asio::signal_set signals(io, SIGTERM, SIGINT);
    signals.async_wait([&io](auto, auto) { io.stop(); });
    sd_notify(0, "READY=1");
    io.run();
    return {};
}

// What is wrong with [api] and the files that it names, as this user may read them.
int check_files(const std::string& file, const Result<core::ApiSettings>& settings) {
    auto ok = settings ? settings->api->check_listen(settings->lan) : tl::unexpected(settings.error());
    if (ok)
        if (auto tls = api::load_tls(*settings->api); !tls)
            ok = tl::unexpected(tls.error());
    if (ok)
        std::cout << file << ": [api] is good\n";
    else
        std::cerr << "penstock-api: " << ok.error().message() << "\n";
    return ok ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    prctl(PR_SET_DUMPABLE, 0);     // no core file: the private key is in it
    std::signal(SIGPIPE, SIG_IGN); // a closed connection is an error of write(), not the end
    std::string file = "/etc/penstock/penstock.toml";
    CLI::App app(
        "penstock-api: answers clients with a certificate over TLS 1.3, and hands signed bundles to penstockd");
    app.set_version_flag("--version", PENSTOCK_VERSION);
    app.add_option("--config", file, "configuration file")->capture_default_str();
    bool check = false;
    app.add_flag("--check", check, "check [api] and the files it names and exit; changes nothing");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    auto settings = core::load_api_settings(file);
    if (settings && !settings->api) {
        log::info("nothing_to_do", {{"why", file + " has no [api]"}});
        sd_notify(0, "READY=1"); // an end before it would be a failure
        return 0;
    }
    if (check)
        return check_files(file, settings);
    const auto ok = settings ? run(*settings) : tl::unexpected(settings.error());
    if (!ok) {
        log::error("failed", {{"why", ok.error().message()}});
        return 1;
    }
    return 0;
}
