#include "agent/api/client.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

namespace penstock::api {
namespace {

std::string text(const ASN1_STRING* from) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(from)),
            static_cast<std::size_t>(ASN1_STRING_length(from))};
}

std::string address(const ASN1_STRING* from) {
    const auto bytes = text(from);
    IpAddress out{.family = bytes.size() == 4 ? AF_INET : AF_INET6};
    if (bytes.size() != 4 && bytes.size() != out.bytes.size())
        return "";
    std::memcpy(out.bytes.data(), bytes.data(), bytes.size());
    return out.str();
}

std::string spelt(const GENERAL_NAME& name) {
    switch (name.type) {
    case GEN_DNS:
        return "dns:" + text(name.d.dNSName);
    case GEN_EMAIL:
        return "email:" + text(name.d.rfc822Name);
    case GEN_URI:
        return "uri:" + text(name.d.uniformResourceIdentifier);
    case GEN_IPADD:
        return "ip:" + address(name.d.iPAddress);
    default:
        return "";
    }
}

std::string fingerprint(x509_st* certificate) {
    constexpr auto kDigits = "0123456789abcdef";
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
    unsigned size = 0;
    std::string out = "sha256:";
    if (X509_digest(certificate, EVP_sha256(), bytes.data(), &size) == 1)
        for (unsigned i = 0; i < size; i++)
            (out += kDigits[bytes.at(i) >> 4]) += kDigits[bytes.at(i) & 15];
    return out;
}

} // namespace

std::vector<std::string> names_of(x509_st* certificate) {
    std::vector<std::string> out;
    const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        &GENERAL_NAMES_free);
    for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); i++)
        if (auto name = core::client_name(spelt(*sk_GENERAL_NAME_value(names.get(), i))))
            out.push_back(std::move(*name));
    out.push_back(fingerprint(certificate));
    return out;
}

Client Client::of(x509_st* certificate, std::string address, const core::ApiConfig& config) {
    const auto names = names_of(certificate);
    Client out{.name = names.front(), .fingerprint = names.back(), .address = std::move(address)};
    out.role = config.role_of(names);
    for (auto name = names.rbegin(); name != names.rend(); ++name)
        if (out.role != core::Role::none && config.role_of({*name}) == out.role)
            out.name = *name;
    return out;
}

nlohmann::json Client::asker() const {
    return {
        {"client", name}, {"fingerprint", fingerprint}, {"role", core::role_name(role)}, {"client_address", address}};
}

} // namespace penstock::api
