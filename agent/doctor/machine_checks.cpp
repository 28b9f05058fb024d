// Kernel, clock, disk, and the files of the configuration.
#include "agent/core/credentials.hpp"
#include "agent/core/machine.hpp"
#include "agent/core/preflight.hpp"
#include "agent/datapath/tcx.hpp"
#include "agent/doctor/doctor.hpp"
#include "agent/net/xfrm.hpp"

#include <cstdio>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace penstock::doctor {
namespace {

constexpr std::int64_t kDay = 86400;
constexpr std::int64_t kSoon = 14 * kDay;
// A bundle may have 128 MiB, and the old one stays until the new one is there.
constexpr unsigned long long kRoom = 160ULL << 20, kNoRoom = 1ULL << 20;

std::string mebibytes(unsigned long long bytes) { return std::to_string(bytes >> 20) + " MiB"; }

} // namespace

void check_kernel(Report& report) {
    utsname name{};
    uname(&name);
    const auto release = std::string("Linux ") + name.release;
    if (auto ok = core::check_capabilities(core::Task::gate); !ok) {
        report.warning("privileges", "without root a part cannot be looked at", "sudo penstock doctor");
        return;
    }
    for (auto ok : {core::check_bpf(), core::check_xfrm()})
        if (!ok)
            report.wrong("kernel", ok.error().message(), "boot a kernel that has it (Debian 12 or later)");
    if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
        report.warning("kernel", release + " has no BTF (/sys/kernel/btf/vmlinux)",
                       "boot a kernel with CONFIG_DEBUG_INFO_BTF");
    if (const auto tcx = datapath::kernel_has_tcx(); !tcx)
        report.wrong("kernel", tcx.error().message(), "run as root");
    else
        report.ok("kernel", release + ", hooks by " + (*tcx ? "tcx" : "clsact"));
    const auto esp = net::kernel_has_esp();
    if (!esp)
        report.wrong("kernel", "cannot find out whether it has ESP: " + esp.error().message(), "run as root");
    else if (*esp)
        report.ok("kernel", "ESP in the kernel");
    else
        report.warning("kernel", "no ESP in the kernel: it runs in user space, several times slower",
                       "modprobe esp4 esp6, or boot a kernel with CONFIG_INET_ESP");
}

void check_clock(Report& report) {
    const auto now = policy::now();
    const auto shown = policy::format_time(now);
    // Nothing of penstock is older.
    if (now < policy::Time(std::chrono::sys_days(std::chrono::year(2026) / 1 / 1))) {
        report.wrong("clock", "it is " + shown + ", says the clock; certificates are not valid yet for it",
                     "set it: timedatectl set-time, or let NTP do it: timedatectl set-ntp true");
        return;
    }
    timex state{};
    if (adjtimex(&state) == TIME_ERROR || (state.status & STA_UNSYNC) != 0)
        report.warning("clock", shown + ", not synchronised", "timedatectl set-ntp true, or run chrony");
    else
        report.ok("clock", shown + ", synchronised");
}

void check_disk(const core::Config& config, Report& report) {
    struct statvfs disk{};
    const auto state = config.state.string();
    if (statvfs(state.c_str(), &disk) != 0) {
        report.warning("disk", "the state folder " + state + " is not there", "penstockd makes it when it starts");
        return;
    }
    const auto free = static_cast<unsigned long long>(disk.f_bavail) * disk.f_frsize;
    if ((disk.f_flag & ST_RDONLY) != 0)
        report.wrong("disk", state + " is on a read-only file system: no policy can be stored",
                     "mount it writable, or set [paths] state");
    else if (free < kNoRoom)
        report.wrong("disk", "no room in " + state + ": no policy can be stored", "free some space there");
    else if (free < kRoom)
        report.warning("disk", "only " + mebibytes(free) + " free in " + state, "a large bundle needs 160 MiB");
    else
        report.ok("disk", mebibytes(free) + " free in " + state);
}

void check_files(const core::Config& config, Report& report) {
    const auto found = core::preflight(config);
    const auto check = "penstockd --check-config " + config.file.string();
    for (const auto& what : found.wrong)
        report.wrong("configuration", what, check);
    for (const auto& what : found.warnings)
        report.warning("configuration", what, check);
    if (found.wrong.empty() && found.warnings.empty())
        report.ok("configuration", config.file.string());
    const auto now = policy::now();
    for (const auto& one : core::read_credentials(config).certificates) {
        const auto left = (one.not_after - now).count();
        const auto what = one.path.string() + " is valid for " + std::to_string(left / kDay) + " more days, until " +
                          policy::format_time(one.not_after);
        if (left < 0 || now < one.not_before)
            continue; // preflight() said so
        if (left < kSoon)
            report.warning("certificates", what, "put a new one there, it is taken over by itself");
        else
            report.ok("certificates", what);
    }
}

} // namespace penstock::doctor
