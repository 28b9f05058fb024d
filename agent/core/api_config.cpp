#include "agent/core/api_config.hpp"

#include "agent/core/config_section.hpp"
#include "policy/text.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ifaddrs.h>
#include <memory>
#include <netinet/in.h>
#include <sys/socket.h>

namespace penstock::core {
namespace {

constexpr std::size_t kFingerprint = 64; // hex digits
constexpr auto kRequired = Section::Need::required;

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
    return out;
}

bool is_one_hosts(const IpAddress& address) {
    const auto first = address.bytes[0];
    if (std::ranges::all_of(address.bytes, [](auto byte) { return byte == 0; }))
        return false;
    return address.family == AF_INET ? first < 224
                                     : first != 0xff && !(first == 0xfe && (address.bytes[1] & 0xc0) == 0x80);
}

// Those whom the list `key` gives this role.
void take_clients(const char* key, Role role, const std::vector<std::string>& texts, Section& section, ApiConfig& out) {
    for (const auto& text : texts) {
        const auto name = client_name(text);
        if (!name)
            section.complain(key, name.error().message());
        else if (!out.clients.emplace(*name, role).second)
            section.complain(key, "client " + policy::quote(text) +
                                      " is named twice in [api]; a role may do what the ones before it may");
    }
}

IpAddress address_of(const sockaddr& socket) {
    IpAddress out{.family = socket.sa_family};
    if (socket.sa_family == AF_INET)
        std::memcpy(out.bytes.data(), &reinterpret_cast<const sockaddr_in&>(socket).sin_addr, 4);
    else
        std::memcpy(out.bytes.data(), &reinterpret_cast<const sockaddr_in6&>(socket).sin6_addr, 16);
    return out;
}

} // namespace

std::string_view role_name(Role role) {
    switch (role) {
    case Role::viewer:
        return "viewer";
    case Role::operating:
        return "operator";
    case Role::publisher:
        return "publisher";
    case Role::none:
        break;
    }
    return "none";
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
    const auto wrong =
        fail(policy::quote(text) + " is no address and port such as \"198.51.100.2:8443\" or \"[2001:db8::2]:8443\"");
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return wrong;
    auto host = text.substr(0, colon);
    const auto port = text.substr(colon + 1);
    const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (brackets)
        host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    Endpoint out;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (!address || brackets != (address->family == AF_INET6) || error != std::errc{} ||
        end != port.data() + port.size() || out.port == 0)
        return wrong;
    out.address = *address;
    return out;
}

std::string Endpoint::str() const {
    const auto host = address.str();
    return (address.family == AF_INET6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<std::string> client_name(std::string_view text) {
    const auto colon = text.find(':');
    const auto kind = text.substr(0, colon);
    const auto value = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    if (value.empty() || (kind != "dns" && kind != "email" && kind != "uri" && kind != "ip" && kind != "sha256"))
        return fail("a client is named by a subjectAltName (\"dns:...\", \"email:...\", \"uri:...\", \"ip:...\") or a "
                    "fingerprint (\"sha256:...\"), not " +
                    policy::quote(text));
    if (kind == "dns")
        return "dns:" + lower(value);
    if (kind == "ip") {
        const auto address = IpAddress::parse(value);
        return address ? Result<std::string>("ip:" + address->str())
                       : fail(policy::quote(text) + " names no IP address");
    }
    if (kind != "sha256")
        return std::string(text);
    auto digits = lower(value);
    std::erase(digits, ':');
    if (digits.size() != kFingerprint || digits.find_first_not_of("0123456789abcdef") != std::string::npos)
        return fail(policy::quote(text) + " is no SHA-256 fingerprint of 64 hex digits; openssl x509 -in FILE -noout "
                                          "-fingerprint -sha256 prints it");
    return "sha256:" + digits;
}

Role ApiConfig::role_of(const std::vector<std::string>& names) const {
    auto best = Role::none;
    for (const auto& name : names)
        if (const auto found = clients.find(name); found != clients.end())
            best = std::max(best, found->second);
    return best;
}

void ApiConfig::resolve(const std::filesystem::path& folder) {
    certificate = folder / certificate;
    private_key = folder / private_key;
    for (auto* paths : {&ca, &crl})
        for (auto& path : *paths)
            path = folder / path;
}

Status ApiConfig::check_listen(const std::vector<std::string>& lan) const {
    if (allow_lan)
        return {};
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0)
        return fail_errno("cannot list the addresses of this machine");
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
    for (const auto* one = list; one != nullptr; one = one->ifa_next)
        if (one->ifa_addr != nullptr && one->ifa_addr->sa_family == listen.address.family &&
            address_of(*one->ifa_addr) == listen.address && std::ranges::find(lan, one->ifa_name) != lan.end())
            return fail("[api] listen: " + listen.address.str() + " is an address of the LAN " + one->ifa_name +
                        ", where the devices are; choose a management address, or say allow_lan = true");
    return {};
}

ApiConfig read_api(Section& section) {
    ApiConfig api;
    std::string listen;
    section.read("listen", listen, kRequired);
    section.read("allow_lan", api.allow_lan);
    section.read("certificate", api.certificate, kRequired);
    section.read("private_key", api.private_key, kRequired);
    section.read_list("ca", api.ca, kRequired);
    section.read_list("crl", api.crl);
    section.read("user", api.user);
    std::vector<std::string> viewers, operators, publishers;
    section.read_list("viewers", viewers);
    section.read_list("operators", operators);
    section.read_list("publishers", publishers);
    section.refuse_unknown_keys();
    take_clients("viewers", Role::viewer, viewers, section, api);
    take_clients("operators", Role::operating, operators, section, api);
    take_clients("publishers", Role::publisher, publishers, section, api);

    if (listen.empty()) // it was said
        return api;
    const auto endpoint = Endpoint::parse(listen);
    if (!endpoint)
        section.complain("listen", "[api] listen: " + endpoint.error().message());
    else if (!is_one_hosts(endpoint->address))
        section.complain("listen", "[api] listen: " + endpoint->address.str() +
                                       " is not one address of this machine; name the management address alone");
    else
        api.listen = *endpoint;
    if (api.clients.empty())
        section.complain("listen", "[api] names no client; list some in viewers, operators or publishers");
    return api;
}

Result<ApiSettings> load_api_settings(const std::filesystem::path& file) {
    const auto root = read_toml(file);
    if (!root)
        return tl::unexpected(root.error());
    Complaints complaints(file.string());
    ApiSettings out;
    if (const auto* table = (*root)["api"].as_table()) {
        Section api("[api]", table, complaints);
        out.api = read_api(api);
        out.api->resolve(std::filesystem::absolute(file).parent_path());
    } else if (root->contains("api")) {
        complaints.add((*root)["api"].node()->source().begin.line, "api must be a section");
    }
    Section lan("[lan]", (*root)["lan"].as_table(), complaints);
    lan.read_list("interfaces", out.lan);
    std::filesystem::path run = "/run/penstock";
    Section paths("[paths]", (*root)["paths"].as_table(), complaints);
    paths.read("run", run);
    out.socket = run / kApiSocket;
    if (auto ok = complaints.status(); !ok)
        return tl::unexpected(ok.error());
    return out;
}

} // namespace penstock::core
