#include "agent/setup/login.hpp"

#include <cstdlib>
#include <string>
#include <systemd/sd-login.h>
#include <unistd.h>

namespace penstock::setup {
namespace {

Login coming_from(const std::string& host) {
    const auto address = IpAddress::parse(host.substr(0, host.find('%')));
    return {.remote = true, .from = address ? std::optional(*address) : std::nullopt};
}

std::string take(char* text) {
    std::string out = text != nullptr ? text : "";
    std::free(text); // NOLINT(cppcoreguidelines-no-malloc): libsystemd's
    return out;
}

// Where logind knows nothing, only a terminal of the machine itself is not remote.
bool is_on_a_console() {
    const char* name = ttyname(STDIN_FILENO);
    const std::string tty = name != nullptr ? name : "";
    const bool numbered = tty.starts_with("/dev/tty") && tty.size() > 8 && tty[8] >= '0' && tty[8] <= '9';
    return numbered || tty == "/dev/console" || tty.starts_with("/dev/ttyS") || tty.starts_with("/dev/hvc");
}

} // namespace

Login login() {
    if (const char* ssh = std::getenv("SSH_CONNECTION"); ssh != nullptr && *ssh != '\0') {
        const std::string text = ssh; // client, its port, our address, our port
        return coming_from(text.substr(0, text.find(' ')));
    }
    char* text = nullptr;
    if (sd_pid_get_session(0, &text) < 0)
        return {.remote = !is_on_a_console(), .from = {}};
    const auto session = take(text);
    const int remote = sd_session_is_remote(session.c_str());
    if (remote == 0)
        return {};
    if (remote < 0)
        return {.remote = true, .from = {}};
    text = nullptr;
    return sd_session_get_remote_host(session.c_str(), &text) < 0 ? Login{.remote = true, .from = {}}
                                                                  : coming_from(take(text));
}

} // namespace penstock::setup
