#include "agent/token/module.hpp"

#include "policy/text.hpp"

#include <algorithm>

namespace penstock::token {
namespace {

std::string last_message() {
    const char* message = p11_kit_message();
    return message == nullptr ? "p11-kit does not say why" : message;
}

std::string listed(const std::vector<Token>& tokens) {
    std::vector<std::string> names;
    names.reserve(tokens.size());
    for (const Token& token : tokens)
        names.push_back(policy::quote(field(token.info.label)) + " (serial " +
                        policy::quote(field(token.info.serialNumber)) + ")");
    return sorted(std::move(names));
}

// Appends the tokens of a module: to all, and to matching those that the URI means.
void look_at(CK_FUNCTION_LIST* module, const Uri& uri, std::vector<Token>& all, std::vector<Token>& matching) {
    CK_INFO info{};
    CK_ULONG count = 0;
    if (module->C_GetInfo(&info) != CKR_OK || module->C_GetSlotList(CK_TRUE, nullptr, &count) != CKR_OK)
        return;
    std::vector<CK_SLOT_ID> slots(count);
    if (module->C_GetSlotList(CK_TRUE, slots.data(), &count) != CKR_OK)
        return;
    slots.resize(count);
    for (const CK_SLOT_ID slot : slots) {
        CK_SLOT_INFO slot_info{};
        Token token{module, slot, {}};
        if (module->C_GetSlotInfo(slot, &slot_info) != CKR_OK || module->C_GetTokenInfo(slot, &token.info) != CKR_OK ||
            (token.info.flags & CKF_TOKEN_INITIALIZED) == 0)
            continue;
        all.push_back(token);
        if (uri.matches(info, slot, slot_info, token.info))
            matching.push_back(token);
    }
}

} // namespace

std::string sorted(std::vector<std::string> names) {
    std::ranges::sort(names);
    std::string out;
    for (const std::string& name : names)
        out += (out.empty() ? "" : ", ") + name;
    return out;
}

void Modules::Finalize::operator()(CK_FUNCTION_LIST* module) const {
    p11_kit_module_finalize(module);
    p11_kit_module_release(module);
}

Result<Modules> Modules::load(const Uri& uri) {
    Modules out;
    if (uri.module_path().empty()) {
        out.configured_.reset(p11_kit_modules_load_and_initialize(0));
        if (!out.configured_)
            return fail("the PKCS #11 modules of this machine cannot be loaded: " + last_message());
        for (CK_FUNCTION_LIST** module = out.configured_.get(); *module != nullptr; module++)
            out.all_.push_back(*module);
        if (out.all_.empty())
            return fail("this machine has no PKCS #11 module that works; install the token's, or name its file as "
                        "?module-path=/PATH");
        return out;
    }
    CK_FUNCTION_LIST* module = p11_kit_module_load(uri.module_path().c_str(), 0);
    if (module == nullptr)
        return fail("the module cannot be loaded: " + last_message());
    if (const CK_RV rv = p11_kit_module_initialize(module); rv != CKR_OK) {
        p11_kit_module_release(module);
        return fail(std::string("the module does not start: ") + p11_kit_strerror(rv));
    }
    out.named_.reset(module);
    out.all_.push_back(module);
    return out;
}

Result<Token> find_token(const Uri& uri, const Modules& modules) {
    std::vector<Token> all, matching;
    for (CK_FUNCTION_LIST* module : modules.all())
        look_at(module, uri, all, matching);
    if (matching.size() == 1)
        return matching.front();
    if (matching.size() > 1)
        return fail(std::to_string(matching.size()) + " tokens match: " + listed(matching) +
                    "; name one, as by serial=");
    if (all.empty())
        return fail(
            "there is no token: plug it in, and see that you may use it (`p11-kit list-modules` shows what this "
            "machine knows); a module that p11-kit does not know is named as ?module-path=/PATH");
    return fail("no such token; there is " + listed(all));
}

} // namespace penstock::token
