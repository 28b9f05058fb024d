// What is left to a hijacked penstock-ike by its system call filter, and to libc, which must still start threads.
#include "agent/ike/confine.h"

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <functional>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr int kFine = 0, kWrong = 1, kNoFilter = 2;

// How a confined child ends: what `act` says, or the signal that it died of, negative.
int confined(const std::function<bool()>& act) {
    const pid_t pid = fork();
    BOOST_REQUIRE(pid >= 0);
    if (pid == 0) {
        int code = kNoFilter;
        if (confine_system_calls())
            code = act() ? kFine : kWrong;
        _exit(code);
    }
    int status = 0;
    BOOST_REQUIRE(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

bool unknown(long result) { return result == -1 && errno == ENOSYS; }

} // namespace

BOOST_AUTO_TEST_SUITE(ike_confine)

BOOST_AUTO_TEST_CASE(threads_start) {
    BOOST_TEST(confined([] {
                   int ran = 0;
                   for (int i = 0; i < 3; i++)
                       std::thread([&ran] { ran++; }).join();
                   return ran == 3;
               }) == kFine);
}

BOOST_AUTO_TEST_CASE(no_other_process_is_made) {
    BOOST_TEST(confined([] { return unknown(syscall(SYS_clone3, nullptr, 0)); }) == kFine);
    BOOST_TEST(confined([] { return unknown(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)); }) ==
               kFine);
    BOOST_TEST(confined([] { return unknown(fork()); }) == kFine); // by clone(): the call fork() itself is fatal
#ifdef SYS_fork
    BOOST_TEST(confined([] { return syscall(SYS_fork) < 0; }) == -SIGSYS);
#endif
}

BOOST_AUTO_TEST_CASE(no_program_is_started_and_no_memory_made_one) {
    BOOST_TEST(confined([] {
                   char name[] = "/bin/true";
                   char* const argv[] = {name, nullptr};
                   return execve(name, argv, nullptr) != 0;
               }) == -SIGSYS);
    BOOST_TEST(confined([] {
                   return mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                              MAP_FAILED &&
                          mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
               }) == kFine);
}

BOOST_AUTO_TEST_CASE(files_are_only_read_and_the_kernel_not_reprogrammed) {
    BOOST_TEST(confined([] { return open("/dev/null", O_RDONLY) >= 0 && open("/dev/null", O_WRONLY) < 0; }) == kFine);
    BOOST_TEST(confined([] { return syscall(SYS_bpf, 0, nullptr, 0) < 0; }) == -SIGSYS);
    BOOST_TEST(confined([] { return syscall(SYS_ptrace, 0, 0, 0, 0) < 0; }) == -SIGSYS);
}

BOOST_AUTO_TEST_SUITE_END()
