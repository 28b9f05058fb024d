#include "agent/base/error.hpp"

#include <cerrno>
#include <cstring>

namespace penstock {

Error Error::from_errno(std::string_view what, int code) {
    std::string message = std::string(what) + ": " + strerror(code);
    if (code == EPERM)
        message += " (needs root)";
    return Error(std::move(message), code);
}

} // namespace penstock
