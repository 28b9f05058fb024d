// The order in which a child of penstockd becomes penstock-ike: descriptors, bounding set, user, capabilities, exec.
#include "agent/ike/launch.hpp"

#include "agent/ike/channel.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace penstock {

namespace {

constexpr int kSocketBuffer = 1 << 20; // room for the events of a busy moment

struct Pair {
    Fd ours;
    Fd theirs;
};

Result<Pair> make_pair_of_sockets() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return fail_errno("cannot make a socket pair");
    Pair pair{Fd(ends[0]), Fd(ends[1])};
    if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
        return fail_errno("cannot make a socket non-blocking");
    for (const int end : ends)
        ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof kSocketBuffer);
    return pair;
}

// What the child says over the status pipe when a step fails; nothing is said when exec succeeds.
struct Failure {
    std::array<char, 48> step;
    int code;
};

[[noreturn]] void give_up(int status_pipe, const char* step) {
    Failure failure{{}, errno};
    for (std::size_t i = 0; i + 1 < failure.step.size() && step[i] != 0; i++)
        failure.step[i] = step[i];
    [[maybe_unused]] const auto written = ::write(status_pipe, &failure, sizeof failure);
    ::_exit(127);
}

// Inheritable ones must be there before the bounding set is empty (capset(2) adds none that it lacks).
bool make_inheritable(std::uint32_t wanted) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0)
        return false;
    data[0].inheritable = wanted;
    data[1].inheritable = 0;
    return ::syscall(SYS_capset, &header, data.data()) == 0;
}

// Exactly these, and ambient, so that they survive execve() of a file without capabilities.
bool set_capabilities(std::uint32_t wanted) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    const std::array<__user_cap_data_struct, 2> data{{{wanted, wanted, wanted}, {0, 0, 0}}};
    if (::syscall(SYS_capset, &header, data.data()) != 0 ||
        ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return false;
    for (int cap = 0; cap < 32; cap++)
        if ((wanted >> cap & 1) != 0 && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0)
            return false;
    return true;
}

// After fork() and until exec(): async-signal-safe calls only. The descriptors come first, below 10 they could collide.
[[noreturn]] void become(const IkeLaunch& launch, int requests, int events, int status_pipe, pid_t parent) {
    const int high_requests = ::fcntl(requests, F_DUPFD_CLOEXEC, 10);
    const int high_events = ::fcntl(events, F_DUPFD_CLOEXEC, 10);
    const int status = ::fcntl(status_pipe, F_DUPFD_CLOEXEC, 10);
    if (high_requests < 0 || high_events < 0 || status < 0)
        give_up(status_pipe, "dup");
    if (::dup2(high_requests, PIKE_REQUESTS_FD) < 0 || ::dup2(high_events, PIKE_EVENTS_FD) < 0)
        give_up(status, "dup2");
    // Every other descriptor of penstockd (maps, netlink, keys) stays behind, whoever forgot its close-on-exec.
    if (::syscall(SYS_close_range, PIKE_EVENTS_FD + 1, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) != 0)
        give_up(status, "close_range");
    // Opened as root: the user of penstock-ike may have no way to the file (a checkout in somebody's home).
    const int program = ::open(launch.program.c_str(), O_PATH | O_CLOEXEC);
    if (program < 0)
        give_up(status, "open the program");
    if (const int null = ::open("/dev/null", O_RDWR); null < 0 || ::dup2(null, 0) < 0)
        give_up(status, "open /dev/null");

    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::umask(077);
    std::uint32_t caps = 1U << CAP_NET_BIND_SERVICE;
    if (launch.user_esp)
        caps |= 1U << CAP_NET_ADMIN;
    if (!make_inheritable(caps))
        give_up(status, "make capabilities inheritable");
    for (int cap = 0; cap <= 63; cap++)
        if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            if (errno != EINVAL) // the kernel's last capability is behind us
                give_up(status, "drop the bounding set");
            break;
        }
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || ::setgroups(0, nullptr) != 0 ||
        ::setresgid(launch.gid, launch.gid, launch.gid) != 0 || ::setresuid(launch.uid, launch.uid, launch.uid) != 0)
        give_up(status, "change to the user of penstock-ike");
    if (!set_capabilities(caps))
        give_up(status, "set capabilities");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        give_up(status, "set no_new_privs");
    // After setresuid(), which clears it. SIGKILL: libcharon must not close the tunnels because penstockd died.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        give_up(status, "set the parent death signal");
    if (::getppid() != parent) // died before the line above
        ::_exit(0);

    std::array<char*, 2> argv{const_cast<char*>(launch.program.c_str()), nullptr};
    std::array<char*, 1> env{nullptr};
    ::syscall(SYS_execveat, program, "", argv.data(), env.data(), AT_EMPTY_PATH);
    give_up(status, "execute penstock-ike");
}

} // namespace

Result<IkeProcess> IkeProcess::spawn(const IkeLaunch& launch) {
    if (launch.uid == 0 || launch.gid == 0)
        return fail("penstock-ike must not run as root");
    auto requests_pair = make_pair_of_sockets();
    if (!requests_pair)
        return tl::unexpected(std::move(requests_pair).error());
    auto events_pair = make_pair_of_sockets();
    if (!events_pair)
        return tl::unexpected(std::move(events_pair).error());
    std::array<int, 2> pipe_ends{};
    if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0)
        return fail_errno("cannot make a pipe");
    const Fd status_read(pipe_ends[0]);
    Fd status_write(pipe_ends[1]);

    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0)
        return fail_errno("cannot fork");
    if (pid == 0)
        become(launch, requests_pair->theirs.get(), events_pair->theirs.get(), status_write.get(), parent);

    status_write.reset();
    Failure failure{};
    ssize_t got = 0;
    do
        got = ::read(status_read.get(), &failure, sizeof failure);
    while (got < 0 && errno == EINTR);
    if (got == sizeof failure) {
        ::waitpid(pid, nullptr, 0);
        failure.step.back() = 0;
        return fail_errno(std::string("cannot start ") + launch.program + ": " + failure.step.data(), failure.code);
    }
    return IkeProcess(pid, std::move(requests_pair->ours), std::move(events_pair->ours));
}

IkeProcess::IkeProcess(IkeProcess&& other) noexcept
    : requests(std::move(other.requests)), events(std::move(other.events)), pid_(std::exchange(other.pid_, -1)) {}

IkeProcess& IkeProcess::operator=(IkeProcess&& other) noexcept {
    if (this != &other) {
        if (pid_ > 0)
            ::kill(pid_, SIGKILL);
        requests = std::move(other.requests);
        events = std::move(other.events);
        pid_ = std::exchange(other.pid_, -1);
    }
    return *this;
}

IkeProcess::~IkeProcess() {
    if (pid_ > 0)
        ::kill(pid_, SIGKILL);
}

} // namespace penstock
