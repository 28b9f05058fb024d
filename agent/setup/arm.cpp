#include "agent/setup/arm.hpp"

#include "agent/base/file.hpp"
#include "agent/base/tool.hpp"

#include <sys/stat.h>
#include <unistd.h>

namespace penstock::setup {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxBytes = 1U << 20;
constexpr const char* kTimer = "penstock-unconfirmed";

bool is_there(const fs::path& path) {
    std::error_code error;
    return fs::exists(fs::symlink_status(path, error)); // a link to nothing is there, too
}

Status move(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    return error ? fail_errno("cannot move " + from.string() + " to " + to.string(), error.value()) : Status{};
}

Status take_away(const fs::path& path) {
    std::error_code error;
    fs::remove_all(path, error);
    return error ? fail_errno("cannot remove " + path.string(), error.value()) : Status{};
}

Status run(const std::vector<std::string>& argv) {
    const auto said = run_tool(argv, Stderr::join);
    return said ? Status{} : tl::unexpected(said.error());
}

Status start_timer(std::chrono::minutes patience) {
    std::error_code error;
    const auto self = fs::read_symlink("/proc/self/exe", error);
    if (error)
        return fail_errno("cannot find this program", error.value());
    return run({"systemd-run", "--quiet", "--collect", std::string("--unit=") + kTimer,
                "--on-active=" + std::to_string(patience.count()) + "min", "--timer-property=AccuracySec=1s",
                "--property=Restart=on-failure", "--property=RestartSec=10s", self.string(), "setup", "--revert"});
}

fs::path for_now(const Paths& paths) { return paths.run / "penstock.toml"; }

// Among the mounts of the machine, from which penstockd has its own: this shell may have others.
Status run_outside(std::vector<std::string> argv) {
    argv.insert(argv.begin(), {"nsenter", "--mount=/proc/1/ns/mnt"});
    return run(argv);
}

// The draft into force until confirm() or the next boot: a copy in /run, which /etc links to or which lies over the
// configuration that is there.
Status put_in_force_for_now(const Paths& paths) {
    const auto draft = read_guarded(paths.draft(), kMaxBytes);
    if (!draft)
        return tl::unexpected(draft.error());
    const auto there = for_now(paths);
    if (auto ok = write_file_atomically(there, *draft, 0644); !ok)
        return ok;
    if (is_there(paths.config()))
        return run_outside({"mount", "--bind", there.string(), paths.config().string()});
    if (symlink(there.c_str(), paths.config().c_str()) != 0)
        return fail_errno("cannot make " + paths.config().string());
    return {};
}

// A link: no configuration was there before.
bool is_first(const Paths& paths) {
    std::error_code error;
    return fs::is_symlink(paths.config(), error);
}

// Over one that was there before.
bool is_covered(const Paths& paths) {
    std::error_code error;
    return !is_first(paths) && fs::equivalent(paths.config(), for_now(paths), error);
}

// Lazy: a pager that shows the file must not keep it.
Status uncover(const Paths& paths) {
    return is_covered(paths) ? run_outside({"umount", "--lazy", paths.config().string()}) : Status{};
}

// What a reboot left of a first setup that nobody confirmed: a link into a folder that is gone.
Status forget_unconfirmed(const Paths& paths) {
    std::error_code error;
    if (is_first(paths) && !fs::exists(paths.config(), error))
        return take_away(paths.config());
    return {};
}

} // namespace

bool is_waiting(const Paths& paths) { return is_there(paths.run); }

Status put_in_force(const Paths& paths, Said& said) {
    if (auto ok = forget_unconfirmed(paths); !ok)
        return ok;
    if (is_there(paths.config())) {
        std::error_code error;
        fs::copy_file(paths.config(), paths.before(), fs::copy_options::overwrite_existing, error);
        if (error)
            return fail_errno("cannot keep " + paths.config().string(), error.value());
        said.push_back("replaced " + paths.config().string() + "; what was there is " + paths.before().string());
    } else {
        said.push_back("wrote " + paths.config().string());
    }
    return move(paths.draft(), paths.config());
}

Status arm(const Paths& paths, std::chrono::minutes patience, Said& said) {
    if (is_waiting(paths))
        return fail("a setup waits for its confirmation already: penstock setup --confirm, or --revert");
    if (!is_there(paths.draft()))
        return fail("there is no " + paths.draft().string() + "; run penstock setup first");
    if (patience.count() == 0) {
        if (auto ok = put_in_force(paths, said); !ok)
            return ok;
        return run({"systemctl", "restart", "penstockd.service"});
    }
    std::error_code error;
    fs::create_directories(paths.run, error);
    if (error || chmod(paths.run.c_str(), 0700) != 0)
        return fail_errno("cannot make " + paths.run.string(), error ? error.value() : errno);
    if (auto ok = forget_unconfirmed(paths); !ok)
        return ok;
    // The way back first: whatever goes wrong from here on, the timer mends.
    auto ok = start_timer(patience);
    if (!ok) {
        keep_first(ok, take_away(paths.run));
        return ok;
    }
    if (ok = put_in_force_for_now(paths); ok)
        ok = run({"systemctl", "restart", "penstockd.service"});
    if (!ok) {
        keep_first(ok, revert(paths, said));
        return ok;
    }
    said.push_back("The gate is closed. Open a second session to see that you can come in, then, within " +
                   std::to_string(patience.count()) + " min: penstock setup --confirm");
    return {};
}

Status confirm(const Paths& paths, Said& said) {
    if (!is_waiting(paths))
        return fail("no setup waits for a confirmation");
    auto ok = is_first(paths) ? move(paths.draft(), paths.config()) : uncover(paths);
    if (ok && is_there(paths.draft()))
        ok = put_in_force(paths, said);
    if (!ok)
        return ok;
    if (ok = take_away(paths.run); !ok) // the timer has nothing to do from here on
        return ok;
    (void)run({"systemctl", "stop", std::string(kTimer) + ".timer"});
    said.push_back("confirmed: " + paths.config().string() + " stays");
    return {};
}

Status revert(const Paths& paths, Said& said) {
    if (!is_waiting(paths))
        return fail("no setup waits for a confirmation");
    Status ok;
    if (is_first(paths) || !is_there(paths.config())) {
        keep_first(ok, take_away(paths.config()));
        keep_first(ok, run({"systemctl", "stop", "penstockd.service", "penstock-guard.service"}));
        keep_first(ok, run({"penstockd", "guard", "release", "--config", paths.draft().string()}));
        said.push_back("the guard is released; the LAN is not forwarded. The configuration is " +
                       paths.draft().string() + " again");
    } else if (is_covered(paths)) {
        keep_first(ok, uncover(paths));
        keep_first(ok, run({"systemctl", "restart", "penstockd.service"}));
        said.push_back("the configuration from before is in force again; the other is " + paths.draft().string());
    }
    if (ok) // else the timer's unit tries again
        ok = take_away(paths.run);
    if (ok)
        (void)run({"systemctl", "stop", std::string(kTimer) + ".timer"});
    return ok;
}

} // namespace penstock::setup
