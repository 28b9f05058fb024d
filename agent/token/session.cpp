#include "agent/token/session.hpp"

#include "policy/text.hpp"

#include <array>
#include <utility>

namespace penstock::token {
namespace {

using policy::Secret;

constexpr std::size_t kMaxObjects = 16;
constexpr std::size_t kMaxAttribute = 4096; // bytes

constexpr const char* kLocked =
    "the PIN is locked after too many wrong ones; whoever has the token's SO PIN sets a new "
    "one, as with `pkcs11-tool --login --login-type so --init-pin`";
constexpr const char* kNoPin =
    "the token has no PIN yet; set one, as with `pkcs11-tool --login --login-type so --init-pin`";

CK_BYTE* bytes(std::string_view text) { // PKCS #11 reads through pointers that could write
    return const_cast<CK_BYTE*>(reinterpret_cast<const CK_BYTE*>(text.data()));
}

Error said(const std::string& what, CK_RV rv) { return Error(what + ": " + p11_kit_strerror(rv)); }

} // namespace

Result<Session> Session::open(const Token& token) {
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    const CK_RV rv = token.module->C_OpenSession(token.slot, CKF_SERIAL_SESSION, nullptr, nullptr, &handle);
    if (rv != CKR_OK)
        return tl::unexpected(said("the token gives no session", rv));
    return Session(token, handle);
}

Session::Session(Session&& other) noexcept
    : token_(other.token_), handle_(std::exchange(other.handle_, CK_INVALID_HANDLE)), pin_(std::move(other.pin_)) {}

Session::~Session() {
    if (handle_ != CK_INVALID_HANDLE)
        token_.module->C_CloseSession(handle_); // the last one logs out
}

CK_FLAGS Session::flags() const {
    CK_TOKEN_INFO now{};
    return token_.module->C_GetTokenInfo(token_.slot, &now) == CKR_OK ? now.flags : token_.info.flags;
}

CK_RV Session::present_pin(CK_USER_TYPE user) const {
    if (!pin_) // it is typed on the reader
        return token_.module->C_Login(handle_, user, nullptr, 0);
    return token_.module->C_Login(handle_, user, bytes(pin_->text), pin_->text.size());
}

Error Session::refused_pin(CK_RV rv) const {
    switch (rv) {
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
        if ((flags() & CKF_USER_PIN_LOCKED) != 0)
            return Error(std::string("the PIN was wrong, and now ") + kLocked);
        return Error((flags() & CKF_USER_PIN_FINAL_TRY) != 0 ? "the PIN is wrong; one more wrong one locks the token"
                                                             : "the PIN is wrong; it was tried once");
    case CKR_PIN_LOCKED:
        return Error(kLocked);
    case CKR_USER_PIN_NOT_INITIALIZED:
        return Error(kNoPin);
    case CKR_PIN_EXPIRED:
        return Error("the PIN has expired; set a new one, as with `pkcs11-tool --login --change-pin`");
    default:
        return said("the token does not take the PIN", rv);
    }
}

Status Session::log_in(const Uri& uri, const PinSources& pins) {
    const CK_FLAGS before = token_.info.flags;
    const std::string label = policy::quote(field(token_.info.label));
    if ((before & CKF_LOGIN_REQUIRED) == 0)
        return {};
    if ((before & CKF_USER_PIN_LOCKED) != 0)
        return fail(kLocked);
    if ((before & CKF_USER_PIN_INITIALIZED) == 0)
        return fail(kNoPin);
    if ((before & CKF_PROTECTED_AUTHENTICATION_PATH) == 0) {
        const std::string& file = pins.file.empty() ? uri.pin_file() : pins.file;
        const bool last = (before & CKF_USER_PIN_FINAL_TRY) != 0;
        if (last && !file.empty())
            return fail("one more wrong PIN locks the token, so none is taken from a file; leave out " +
                        std::string(pins.file.empty() ? "pin-source" : "--passphrase-file") + " to be asked for it");
        auto pin = file.empty() ? pins.ask("PIN of token " + label + (last ? ", the last try before it locks: " : ": "))
                                : pins.read(file);
        if (!pin)
            return tl::unexpected(pin.error());
        pin_.emplace(std::move(*pin));
    }
    if (const CK_RV rv = present_pin(CKU_USER); rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN)
        return tl::unexpected(refused_pin(rv));
    return {};
}

Result<std::vector<CK_OBJECT_HANDLE>> Session::find(CK_OBJECT_CLASS type, std::vector<CK_ATTRIBUTE> attributes) const {
    attributes.push_back({CKA_CLASS, &type, sizeof type});
    std::vector<CK_OBJECT_HANDLE> out(kMaxObjects);
    CK_ULONG count = 0;
    CK_RV rv = token_.module->C_FindObjectsInit(handle_, attributes.data(), attributes.size());
    if (rv == CKR_OK) {
        rv = token_.module->C_FindObjects(handle_, out.data(), out.size(), &count);
        token_.module->C_FindObjectsFinal(handle_);
    }
    if (rv != CKR_OK)
        return tl::unexpected(said("the token does not say what it holds", rv));
    out.resize(count);
    return out;
}

std::string Session::attribute(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const {
    std::string value(kMaxAttribute, '\0');
    CK_ATTRIBUTE wanted{type, value.data(), value.size()};
    if (token_.module->C_GetAttributeValue(handle_, object, &wanted, 1) != CKR_OK || wanted.ulValueLen > value.size())
        return {};
    value.resize(wanted.ulValueLen);
    return value;
}

Result<std::string> Session::sign(CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE type, std::string_view data) const {
    CK_MECHANISM mechanism{type, nullptr, 0};
    std::array<CK_BYTE, 256> signature{};
    CK_ULONG size = signature.size();
    CK_RV rv = token_.module->C_SignInit(handle_, &mechanism, key);
    if (rv == CKR_MECHANISM_INVALID)
        return fail(std::string("the token cannot sign with ") + (type == CKM_EDDSA ? "Ed25519" : "P-256") +
                    ", although it holds such a key");
    // PKCS #11 v2.40, 4.9: the PIN once more for each signature.
    if (rv == CKR_OK && attribute(key, CKA_ALWAYS_AUTHENTICATE) == std::string_view("\x01"))
        if (const CK_RV again = present_pin(CKU_CONTEXT_SPECIFIC); again != CKR_OK)
            return tl::unexpected(refused_pin(again));
    if (rv == CKR_OK)
        rv = token_.module->C_Sign(handle_, bytes(data), data.size(), signature.data(), &size);
    if (rv != CKR_OK || size > signature.size())
        return tl::unexpected(said("the token does not sign", rv));
    return std::string(reinterpret_cast<const char*>(signature.data()), size);
}

} // namespace penstock::token
