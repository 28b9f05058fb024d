// The one error type: a sentence that each layer extends by one phrase, outermost first.
#pragma once

#include <string>
#include <string_view>

namespace penstock {

class Error {
public:
    explicit Error(std::string message, int code = 0) : message_(std::move(message)), code_(code) {}

    // "what: strerror(code)"; EPERM is followed by "(needs root)".
    static Error from_errno(std::string_view what, int code);

    // Adds what the caller was doing: "context: message". The errno stays.
    [[nodiscard]] Error with(std::string_view context) && {
        message_ = std::string(context) + ": " + message_;
        return std::move(*this);
    }

    [[nodiscard]] const std::string& message() const { return message_; }
    [[nodiscard]] int code() const { return code_; } // errno of the cause, 0 if there was none

private:
    std::string message_;
    int code_;
};

} // namespace penstock
