// A PKCS #11 URI (RFC 7512): which module, which token, which key, and where its PIN is.
#pragma once

#include "agent/base/result.hpp"

#include <p11-kit/uri.h>

#include <memory>
#include <string>
#include <vector>

namespace penstock::token {

class Uri {
public:
    // Refused are what is not known here, and a PIN in the URI itself. Errors name the URI, without such a PIN.
    static Result<Uri> parse(const std::string& text);

    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] const std::string& module_path() const { return module_path_; } // empty: those that p11-kit knows
    [[nodiscard]] const std::string& pin_file() const { return pin_file_; }       // empty: no pin-source
    [[nodiscard]] bool matches(CK_INFO& module, CK_SLOT_ID slot, CK_SLOT_INFO& slot_info, CK_TOKEN_INFO& token) const;
    // id and label, where the URI has them. The values live as long as the URI.
    [[nodiscard]] std::vector<CK_ATTRIBUTE> object() const;

private:
    struct Free {
        void operator()(P11KitUri* uri) const { p11_kit_uri_free(uri); }
    };
    std::unique_ptr<P11KitUri, Free> handle_;
    std::string text_, module_path_, pin_file_;
};

} // namespace penstock::token
