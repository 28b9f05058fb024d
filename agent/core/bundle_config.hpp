// The section [bundle] of the configuration: where penstock-pull fetches bundles from. It says where bytes come from
// and nothing of what is believed: that is the root document's alone. Read by penstockd and by penstock-pull.
#pragma once

#include "agent/base/result.hpp"

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace penstock::core {

class Section;

struct BundleConfig {
    std::string url; // https only
    std::chrono::seconds interval{900};
    std::vector<std::filesystem::path> ca;          // of the server; none: the system's
    std::filesystem::path certificate, private_key; // empty: none is shown
    std::string proxy;                              // "http://HOST:PORT"; empty: none
    std::string user;
    bool operator==(const BundleConfig&) const = default;

    // Of the url, without port; an IPv6 address in brackets.
    [[nodiscard]] std::string host() const;
    // Relative paths are relative to this folder.
    void resolve(const std::filesystem::path& folder);
};

// api_user: of the section [api], if there is one; the socket of penstockd is for one user.
BundleConfig read_bundle(Section& section, const std::optional<std::string>& api_user);

// What penstock-pull needs to know. The other sections are penstockd's to check.
struct PullSettings {
    std::optional<BundleConfig> bundle;
    std::filesystem::path socket; // penstockd's
};
Result<PullSettings> load_pull_settings(const std::filesystem::path& file);

} // namespace penstock::core
