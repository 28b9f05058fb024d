// Speaks with a gateway elsewhere: penstock-api over TLS 1.3, each side with its certificate.
#pragma once

#include "agent/base/result.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace penstock::cli {

struct Remote {
    std::string to; // HOST:PORT, [ADDRESS]:PORT
    std::string certificate, key, ca;
};

struct HostPort {
    std::string host, port;
    static Result<HostPort> parse(const std::string& text);
};

// sent: bytes of the bundle so far.
using Progress = std::function<void(std::size_t sent)>;

// The gateway's answer, {"ok": false, ...} too. Errors: what keeps us from it, and how to mend that.
Result<nlohmann::json> push_to(const Remote& remote, std::string_view bundle, bool dry_run, const Progress& progress);

} // namespace penstock::cli
