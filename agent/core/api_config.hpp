// The section [api] of the configuration: what penstock-api listens on, and which client may do what. Read by
// penstockd, which decides, and by penstock-api, which sees this and little else of the configuration.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::core {

class Section;

inline constexpr auto kApiSocket = "api.sock"; // in [paths] run

// Each may do what the ones before it may.
enum class Role { none, viewer, operating, publisher };
std::string_view role_name(Role role); // "viewer", "operator", "publisher"

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;

    // "198.51.100.2:8443", "[2001:db8::2]:8443"; no names.
    static Result<Endpoint> parse(std::string_view text);
    [[nodiscard]] std::string str() const;
    bool operator==(const Endpoint&) const = default;
};

// How a client is named: "dns:NAME", "email:ADDRESS", "uri:URI" or "ip:ADDRESS" as a subjectAltName says it, or
// "sha256:" and the certificate's fingerprint, 64 hex digits with or without colons. Returned in the one form that can
// be compared.
Result<std::string> client_name(std::string_view text);

struct ApiConfig {
    Endpoint listen;
    bool allow_lan = false; // that address may be one of a LAN
    std::filesystem::path certificate, private_key;
    std::vector<std::filesystem::path> ca;  // of the clients
    std::vector<std::filesystem::path> crl; // none: nothing is revoked
    std::string user = "penstock-api";
    std::map<std::string, Role> clients; // by client_name()
    bool operator==(const ApiConfig&) const = default;

    // Of a certificate with these names; of several, the one that may do most.
    [[nodiscard]] Role role_of(const std::vector<std::string>& names) const;
    // Relative paths are relative to this folder.
    void resolve(const std::filesystem::path& folder);
    // An error if the address to listen on is one of a LAN interface now, and must not be.
    [[nodiscard]] Status check_listen(const std::vector<std::string>& lan) const;
};

ApiConfig read_api(Section& section);

// What penstock-api needs to know. The other sections are penstockd's to check.
struct ApiSettings {
    std::optional<ApiConfig> api;
    std::vector<std::string> lan; // interface names
    std::filesystem::path socket; // penstockd's
};
Result<ApiSettings> load_api_settings(const std::filesystem::path& file);

} // namespace penstock::core
