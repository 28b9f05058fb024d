// The certificate, private key and CAs that [ike] names: what is wrong with them, in words, before IKE sees them.
#pragma once

#include "agent/core/config.hpp"
#include "policy/text.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace penstock::core {

struct CertificateFile {
    std::filesystem::path path;
    bool ca = false;
    policy::Time not_before, not_after; // UTC
};

struct Credentials {
    std::vector<CertificateFile> certificates; // the gateway's own first; those that could be read
    std::vector<std::string> problems;         // with these files no tunnel can come up

    // Certificates that have expired or are not valid yet: another certificate mends that, or the clock.
    [[nodiscard]] std::vector<std::string> problems_at(policy::Time now) const;
};

// One sentence a problem, each with the file and the mend. Keeps no key in memory.
Credentials read_credentials(const Config& config);

} // namespace penstock::core
