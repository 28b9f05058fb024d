// Who is at the other end: what a verified certificate says, and what the configuration lets it do.
#pragma once

#include "agent/core/api_config.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

struct x509_st;

namespace penstock::api {

// Every subjectAltName and the fingerprint, as core::client_name() writes them; the fingerprint is the last.
std::vector<std::string> names_of(x509_st* certificate);

struct Client {
    std::string name; // what gave it the role; of one without a role, its first name
    std::string fingerprint;
    std::string address;
    core::Role role = core::Role::none;

    static Client of(x509_st* certificate, std::string address, const core::ApiConfig& config);
    // For penstockd's audit log.
    [[nodiscard]] nlohmann::json asker() const;
};

} // namespace penstock::api
