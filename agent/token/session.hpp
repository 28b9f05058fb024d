// A session with one token, read-only: objects, their attributes, the PIN, and a signature.
#pragma once

#include "agent/token/module.hpp"
#include "agent/token/token.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::token {

class Session {
public:
    static Result<Session> open(const Token& token); // the token's module must outlive it
    Session(Session&& other) noexcept;
    Session(const Session&) = delete;
    Session& operator=(Session&&) = delete;
    ~Session();

    // If the token asks for one. Tried once: a token that counts wrong PINs loses one try, not all of them.
    Status log_in(const Uri& uri, const PinSources& pins);
    // At most 16.
    [[nodiscard]] Result<std::vector<CK_OBJECT_HANDLE>> find(CK_OBJECT_CLASS type,
                                                             std::vector<CK_ATTRIBUTE> attributes) const;
    // Empty if the object has none.
    [[nodiscard]] std::string attribute(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const;
    // data: what the mechanism signs.
    [[nodiscard]] Result<std::string> sign(CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE type, std::string_view data) const;

private:
    Session(const Token& token, CK_SESSION_HANDLE handle) : token_(token), handle_(handle) {}
    [[nodiscard]] CK_RV present_pin(CK_USER_TYPE user) const;
    [[nodiscard]] Error refused_pin(CK_RV rv) const;
    [[nodiscard]] CK_FLAGS flags() const; // of the token, now
    Token token_;
    CK_SESSION_HANDLE handle_ = CK_INVALID_HANDLE;
    std::optional<policy::Secret> pin_;
};

} // namespace penstock::token
