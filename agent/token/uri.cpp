#include "agent/token/uri.hpp"

#include "policy/text.hpp"

#include <new>
#include <string_view>

namespace penstock::token {
namespace {

// The path of a pin-source: file:/PATH, file:///PATH (RFC 8089) or /PATH.
Result<std::string> file_of(std::string_view source) {
    if (source.starts_with("file:"))
        source.remove_prefix(5);
    if (source.starts_with("//"))
        source.remove_prefix(2);
    if (!source.starts_with('/'))
        return fail("pin-source is a file with its whole path, such as pin-source=file:/run/user/1000/pin");
    return std::string(source);
}

Status refuse_other_objects(P11KitUri* uri) {
    const CK_ATTRIBUTE* type = p11_kit_uri_get_attribute(uri, CKA_CLASS);
    if (type == nullptr)
        return {};
    const auto value = *static_cast<const CK_OBJECT_CLASS*>(type->pValue);
    if (value != CKO_PRIVATE_KEY && value != CKO_PUBLIC_KEY)
        return fail("names no key: its type is neither private nor public; leave it out");
    return {};
}

} // namespace

Result<Uri> Uri::parse(const std::string& text) {
    if (const auto at = text.find("pin-value"); at != text.npos)
        return fail(text.substr(0, at) +
                    "...: a PIN on the command line is shown to everybody in the list of processes, and this "
                    "one was: change it; leave out pin-value to be asked for it, or give pin-source=file:/PATH");
    Uri uri;
    uri.text_ = text;
    uri.handle_.reset(p11_kit_uri_new());
    if (!uri.handle_)
        throw std::bad_alloc();
    P11KitUri* handle = uri.handle_.get();
    if (const int code = p11_kit_uri_parse(text.c_str(), P11_KIT_URI_FOR_ANY, handle); code != P11_KIT_URI_OK)
        return fail(text +
                    ": is no PKCS #11 URI, such as \"pkcs11:token=alice;object=sign\": " + p11_kit_uri_message(code));
    if (p11_kit_uri_any_unrecognized(handle) != 0)
        return fail(text + ": has an attribute that is not known; those of RFC 7512 are");
    if (p11_kit_uri_get_module_name(handle) != nullptr)
        return fail(text + ": module-name is not taken; give the module's file as module-path");
    if (auto key = refuse_other_objects(handle); !key)
        return fail(text, std::move(key.error()));
    if (const char* path = p11_kit_uri_get_module_path(handle))
        uri.module_path_ = path;
    if (const char* source = p11_kit_uri_get_pin_source(handle)) {
        auto file = file_of(source);
        if (!file)
            return fail(text, std::move(file.error()));
        uri.pin_file_ = std::move(*file);
    }
    return uri;
}

bool Uri::matches(CK_INFO& module, CK_SLOT_ID slot, CK_SLOT_INFO& slot_info, CK_TOKEN_INFO& token) const {
    const P11KitUri* uri = handle_.get();
    const CK_SLOT_ID wanted = p11_kit_uri_get_slot_id(handle_.get());
    return p11_kit_uri_match_module_info(uri, &module) != 0 &&
           (wanted == CK_UNAVAILABLE_INFORMATION || wanted == slot) &&
           p11_kit_uri_match_slot_info(uri, &slot_info) != 0 && p11_kit_uri_match_token_info(uri, &token) != 0;
}

std::vector<CK_ATTRIBUTE> Uri::object() const {
    std::vector<CK_ATTRIBUTE> out;
    for (const CK_ATTRIBUTE_TYPE type : {CKA_ID, CKA_LABEL})
        if (const CK_ATTRIBUTE* attribute = p11_kit_uri_get_attribute(handle_.get(), type))
            out.push_back(*attribute);
    return out;
}

} // namespace penstock::token
