// penstock-pull: reads [bundle], looks again and again, turns errors into exit codes. What is wrong out there never
// ends it.
#include "agent/base/fd.hpp"
#include "agent/base/log.hpp"
#include "agent/pull/pacing.hpp"
#include "agent/pull/puller.hpp"
#include "agent/pull/tls_files.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <curl/curl.h>
#include <iostream>
#include <poll.h>
#include <random>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

namespace {

using namespace penstock;
using Millis = std::chrono::milliseconds;

// SIGTERM and SIGINT: the end; SIGHUP: look now.
class Signals {
public:
    static Result<Signals> take() {
        sigset_t set;
        sigemptyset(&set);
        for (const int one : {SIGTERM, SIGINT, SIGHUP})
            sigaddset(&set, one);
        Signals out;
        if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
            return fail_errno("cannot block signals");
        out.fd_ = Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
        if (!out.fd_)
            return fail_errno("cannot watch for signals");
        return out;
    }
    // Whether the end has come.
    bool ended() {
        signalfd_siginfo info{};
        while (read(fd_.get(), &info, sizeof info) == sizeof info)
            (info.ssi_signo == SIGHUP ? look_ : ended_) = true;
        return ended_;
    }
    // Until the time is over, or there is a reason not to wait for it.
    void wait(Millis time) {
        const auto until = std::chrono::steady_clock::now() + time;
        while (!ended() && !look_) {
            const auto left = std::chrono::ceil<Millis>(until - std::chrono::steady_clock::now());
            if (left.count() <= 0)
                return;
            pollfd one{.fd = fd_.get(), .events = POLLIN, .revents = 0};
            poll(&one, 1, static_cast<int>(left.count()));
        }
        look_ = false;
    }

private:
    Fd fd_;
    bool ended_ = false, look_ = false;
};

// On one line: the next one would be another message to systemd, and some of the words are strangers'.
void tell_status(std::string said, Millis next) {
    std::ranges::replace_if(said, [](char c) { return c >= 0 && c < ' '; }, ' ');
    sd_notifyf(0, "STATUS=%s; the next look is in %lld s", said.c_str(),
               static_cast<long long>(std::chrono::ceil<std::chrono::seconds>(next).count()));
}

Status run(const core::PullSettings& settings) {
    auto signals = Signals::take();
    if (!signals)
        return tl::unexpected(signals.error());
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return fail("libcurl does not start");
    std::mt19937_64 engine(std::random_device{}());
    const pull::Limits limits;
    pull::Puller puller(settings, limits, [&signals] { return signals->ended(); });
    pull::Pacing pacing(settings.bundle->interval,
                        [&engine] { return std::uniform_real_distribution<double>(0, 1)(engine); });
    log::info("ready",
              {{"from", settings.bundle->host()}, {"interval_s", std::to_string(settings.bundle->interval.count())}});
    sd_notify(0, "READY=1");
    signals->wait(pacing.first());
    while (!signals->ended()) {
        const auto looked = puller.look();
        const auto wait = looked.well ? pacing.after_success() : pacing.after_failure(looked.retry_after);
        tell_status(looked.said, wait);
        signals->wait(wait);
    }
    return {};
}

// What is wrong with [bundle] and the files that it names, as this user may read them.
int check_files(const std::string& file, const Result<core::PullSettings>& settings) {
    Status ok;
    if (!settings)
        ok = tl::unexpected(settings.error());
    else if (auto files = pull::TlsFiles::load(*settings->bundle); !files)
        ok = tl::unexpected(files.error());
    if (ok)
        std::cout << file << ": [bundle] is good\n";
    else
        std::cerr << "penstock-pull: " << ok.error().message() << "\n";
    return ok ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    prctl(PR_SET_DUMPABLE, 0);     // no core file: the private key is in it
    std::signal(SIGPIPE, SIG_IGN); // a closed connection is an error of write(), not the end
    std::string file = "/etc/penstock/penstock.toml";
    CLI::App app("penstock-pull: fetches signed bundles over HTTPS and hands them to penstockd, which verifies them");
    app.set_version_flag("--version", PENSTOCK_VERSION);
    app.add_option("--config", file, "configuration file")->capture_default_str();
    bool check = false;
    app.add_flag("--check", check, "check [bundle] and the files it names and exit; fetches nothing");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    const auto settings = core::load_pull_settings(file);
    if (settings && !settings->bundle) {
        log::info("nothing_to_do", {{"why", file + " has no [bundle]"}});
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
