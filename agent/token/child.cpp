#include "agent/token/child.hpp"

#include "agent/base/fd.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::token {
namespace {

constexpr std::size_t kMaxAnswer = PIPE_BUF; // bytes: written and read at once
constexpr char kDone = '+', kFailed = '-';

[[noreturn]] void be_child(const std::function<Result<std::string>()>& work, int out) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_DUMPABLE, 0); // a core would hold the PIN
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
        std::signal(signal, SIG_DFL);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    const auto result = work();
    std::string answer = result ? kDone + *result : kFailed + result.error().message();
    answer.resize(std::min(answer.size(), kMaxAnswer));
    const ssize_t written = write(out, answer.data(), answer.size());
    _exit(written == static_cast<ssize_t>(answer.size()) ? 0 : 1); // nothing of ours or of the module's runs at exit
}

} // namespace

Result<std::string> in_child(const std::function<Result<std::string>()>& work) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0)
        return fail_errno("cannot make a pipe");
    const Fd in(ends[0]);
    Fd out(ends[1]);
    const pid_t child = fork();
    if (child < 0)
        return fail_errno("cannot start a process for the token");
    if (child == 0)
        be_child(work, out.get());
    out.reset();
    std::string answer(kMaxAnswer, '\0');
    // Not until the end: a helper of the module may hold the pipe open.
    const ssize_t size = TEMP_FAILURE_RETRY(read(in.get(), answer.data(), answer.size()));
    int status = 0;
    if (TEMP_FAILURE_RETRY(waitpid(child, &status, 0)) != child)
        return fail_errno("cannot wait for the token's process");
    if (WIFSIGNALED(status))
        return fail(std::string("the token's module crashed (") + strsignal(WTERMSIG(status)) +
                    "); nothing was signed");
    if (size < 1 || status != 0)
        return fail("the token's module ended the process; nothing was signed");
    answer.resize(static_cast<std::size_t>(size));
    return answer[0] == kDone ? Result<std::string>(answer.substr(1)) : fail(answer.substr(1));
}

} // namespace penstock::token
