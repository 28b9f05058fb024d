// A terminal of its own for what asks a person.
#pragma once

#include "agent/base/fd.hpp"

#include <boost/test/unit_test.hpp>

#include <functional>
#include <pty.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace penstock::test {

// What the terminal showed, and whether the child was content.
struct Shown {
    std::string text;
    bool content;
};

// Runs ask in a process with a terminal of its own, and types each line once the prompt for it is there.
inline Shown on_terminal(const std::function<bool()>& ask, const std::vector<std::string>& lines) {
    int master = -1;
    const pid_t child = forkpty(&master, nullptr, nullptr, nullptr);
    BOOST_REQUIRE(child >= 0);
    if (child == 0)
        _exit(ask() ? 0 : 1);
    const Fd terminal(master);
    Shown shown{};
    char buffer[256];
    std::size_t typed = 0, prompts = 0;
    for (ssize_t n = 0; (n = ::read(master, buffer, sizeof buffer)) > 0;) { // EIO once the child is gone
        shown.text.append(buffer, static_cast<std::size_t>(n));
        for (auto at = shown.text.find(": "); at != std::string::npos; at = shown.text.find(": ", at + 1))
            prompts++;
        if (typed < prompts && typed < lines.size()) {
            BOOST_REQUIRE(::write(master, lines[typed].data(), lines[typed].size()) ==
                          static_cast<ssize_t>(lines[typed].size()));
            typed++;
        }
        prompts = 0;
    }
    int status = -1;
    BOOST_REQUIRE(waitpid(child, &status, 0) == child);
    shown.content = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return shown;
}

} // namespace penstock::test
