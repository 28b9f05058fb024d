// What [bundle] names for TLS, read anew for each transfer: files that are replaced need no restart.
#pragma once

#include "agent/base/result.hpp"
#include "agent/core/bundle_config.hpp"

#include <string>

namespace penstock::pull {

// PEM; empty: none. Wiped when it goes: it may hold a private key.
struct TlsFiles {
    std::string ca, certificate, private_key;

    // An error names the file that is at fault.
    static Result<TlsFiles> load(const core::BundleConfig& config);

    TlsFiles() = default;
    TlsFiles(TlsFiles&&) = default;
    TlsFiles& operator=(TlsFiles&&) = default;
    TlsFiles(const TlsFiles&) = delete;
    TlsFiles& operator=(const TlsFiles&) = delete;
    ~TlsFiles();
};

} // namespace penstock::pull
