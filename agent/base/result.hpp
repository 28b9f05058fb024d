// Result<T>: a value or an Error. Fallible functions return it; exceptions are for bugs and memory only.
#pragma once

#include "agent/base/error.hpp"

#include <tl/expected.hpp>

#include <cerrno>
#include <string>
#include <string_view>

namespace penstock {

template <class T> using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(std::string message, int code = 0) {
    return tl::unexpected<Error>(Error(std::move(message), code));
}

[[nodiscard]] inline tl::unexpected<Error> fail_errno(std::string_view what, int code = errno) {
    return tl::unexpected<Error>(Error::from_errno(what, code));
}

// Passes an error up with one more phrase in front.
[[nodiscard]] inline tl::unexpected<Error> fail(std::string_view context, Error&& cause) {
    return tl::unexpected<Error>(std::move(cause).with(context));
}

// Of several steps that are all tried, the first one's error.
inline void keep_first(Status& first, Status next) {
    if (first && !next)
        first = std::move(next);
}

} // namespace penstock
