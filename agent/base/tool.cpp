#include "agent/base/tool.hpp"

#include "agent/base/fd.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr std::size_t kMaxOutput = 64U << 20;

std::string read_all(int fd) {
    std::string out;
    std::array<char, 65536> buffer{};
    ssize_t got = 0;
    while (out.size() < kMaxOutput &&
           ((got = read(fd, buffer.data(), buffer.size())) > 0 || (got < 0 && errno == EINTR)))
        out.append(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
}

} // namespace

Result<std::string> run_tool(const std::vector<std::string>& argv, Stderr errors) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0)
        return fail_errno("cannot make a pipe");
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    std::vector<char*> words;
    words.reserve(argv.size() + 1);
    for (const auto& word : argv)
        words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDOUT_FILENO);
    if (errors == Stderr::join)
        posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDERR_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    std::array<char*, 2> environment{path, nullptr};
    pid_t pid = 0;
    int error = posix_spawnp(&pid, argv[0].c_str(), &actions, nullptr, words.data(), environment.data());
    if (error == ENOENT && argv[0].find('/') == std::string::npos) // an ordinary user's PATH has no /usr/sbin
        error =
            posix_spawn(&pid, ("/usr/sbin/" + argv[0]).c_str(), &actions, nullptr, words.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    theirs.reset();
    if (error != 0)
        return fail_errno("cannot run " + argv[0], error);
    auto text = read_all(ours.get());
    ours.reset(); // one that has more to say than we read must not wait for us
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (text.size() >= kMaxOutput)
        return fail(argv[0] + " answered with more than 64 MiB");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        text.erase(text.find_last_not_of(" \n") + 1);
        return fail(argv[0] + " failed" + (errors == Stderr::join && !text.empty() ? ": " + text : ""));
    }
    return text;
}

} // namespace penstock
