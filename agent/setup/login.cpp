#include "agent/setup/login.hpp"

#include <cstdlib>
#include <string>
#include <systemd/sd-login.h>

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

} // namespace

Login login() {
    if (const char* ssh = std::getenv("SSH_CONNECTION"); ssh != nullptr && *ssh != '\0') {
        const std::string text = ssh; // client, its port, our address, our port
        return coming_from(text.substr(0, text.find(' ')));
    }
    char* text = nullptr;
    if (sd_pid_get_session(0, &text) < 0)
        return {};
    const auto session = take(text);
    if (sd_session_is_remote(session.c_str()) <= 0)
        return {};
    text = nullptr;
    return sd_session_get_remote_host(session.c_str(), &text) < 0 ? Login{.remote = true, .from = {}}
                                                                  : coming_from(take(text));
}

} // namespace penstock::setup
