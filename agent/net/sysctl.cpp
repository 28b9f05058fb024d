#include "agent/net/sysctl.hpp"

#include "agent/base/fd.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>

namespace penstock::net {
namespace {

// A key is made from names that come from outside (interfaces): it must not lead out of /proc/sys/net.
Result<std::string> path_of(const std::string& key) {
    if (!key.starts_with("net/") || key.find('\0') != std::string::npos)
        return fail("\"" + key + "\" is not a network sysctl", EINVAL);
    for (std::size_t start = 0; start <= key.size();) {
        const std::size_t end = std::min(key.find('/', start), key.size());
        const std::string part = key.substr(start, end - start);
        if (part.empty() || part == "." || part == "..")
            return fail("\"" + key + "\" is not a network sysctl", EINVAL);
        start = end + 1;
    }
    return "/proc/sys/" + key;
}

} // namespace

Result<std::string> read_sysctl(const std::string& key) {
    auto path = path_of(key);
    if (!path)
        return path;
    const Fd fd(open(path->c_str(), O_RDONLY | O_CLOEXEC));
    char text[4096];
    const ssize_t size = fd ? read(fd.get(), text, sizeof text) : -1;
    if (size < 0)
        return fail_errno("cannot read sysctl " + key);
    std::string value(text, static_cast<std::size_t>(size));
    while (!value.empty() && value.back() == '\n')
        value.pop_back();
    return value;
}

Status write_sysctl(const std::string& key, const std::string& value) {
    auto path = path_of(key);
    if (!path)
        return tl::unexpected(std::move(path.error()));
    const Fd fd(open(path->c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
        return fail_errno("cannot set sysctl " + key + " to " + value);
    return {};
}

std::string interface_sysctl(int family, const std::string& interface, const std::string& name) {
    return std::string("net/") + (family == AF_INET6 ? "ipv6" : "ipv4") + "/conf/" + interface + "/" + name;
}

} // namespace penstock::net
