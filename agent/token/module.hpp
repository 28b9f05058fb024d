// PKCS #11 modules, and the token that a URI means among theirs.
#pragma once

#include "agent/token/uri.hpp"

#include <p11-kit/p11-kit.h>

#include <memory>
#include <string>
#include <vector>

namespace penstock::token {

// What a token calls itself: a field of PKCS #11, padded with spaces.
template <std::size_t N> std::string field(const unsigned char (&text)[N]) {
    return {reinterpret_cast<const char*>(text), p11_kit_space_strlen(text, N)};
}

// For a sentence: modules give tokens and objects in any order.
std::string sorted(std::vector<std::string> names);

// Loaded and initialised; finalised when it goes.
class Modules {
public:
    // The URI's module-path, or all that p11-kit is configured with (pkcs11.conf(5)).
    static Result<Modules> load(const Uri& uri);

    [[nodiscard]] const std::vector<CK_FUNCTION_LIST*>& all() const { return all_; }

private:
    struct Finalize {
        void operator()(CK_FUNCTION_LIST** modules) const { p11_kit_modules_finalize_and_release(modules); }
        void operator()(CK_FUNCTION_LIST* module) const;
    };
    std::unique_ptr<CK_FUNCTION_LIST*, Finalize> configured_;
    std::unique_ptr<CK_FUNCTION_LIST, Finalize> named_;
    std::vector<CK_FUNCTION_LIST*> all_;
};

struct Token {
    CK_FUNCTION_LIST* module = nullptr; // of Modules
    CK_SLOT_ID slot = 0;
    CK_TOKEN_INFO info{};
};

// The one that matches; none or several are an error that lists them.
Result<Token> find_token(const Uri& uri, const Modules& modules);

} // namespace penstock::token
