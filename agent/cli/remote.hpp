// Speaks with a gateway elsewhere: penstock-api over TLS 1.3, each side with its certificate.
#pragma once

#include "agent/base/result.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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

struct PushTerms {
    bool dry_run = false;
    unsigned wait = 0; // seconds to be found well in; 0: it stays
    std::vector<std::string> probes;
};

// A gateway, and how we show it who we are. Answers are the gateway's, {"ok": false, ...} too; errors say what keeps us
// from it, and how to mend that. A connection for each question.
class RemoteGateway {
public:
    // Reads certificate, key and CA; asks for the key's passphrase.
    static Result<RemoteGateway> make(Remote remote);
    RemoteGateway(RemoteGateway&&) noexcept;
    ~RemoteGateway();

    [[nodiscard]] Result<nlohmann::json> push(std::string_view bundle, const PushTerms& terms,
                                              const Progress& progress) const;
    // The policy in force: "policy" of the status.
    [[nodiscard]] Result<nlohmann::json> policy() const;

private:
    struct State;
    explicit RemoteGateway(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace penstock::cli
