// A push that goes back by itself unless the gateway is found well in time (commit-confirm): what the ledger keeps of
// it, and what "well" means.
#pragma once

#include "agent/base/result.hpp"
#include "agent/core/requests.hpp"
#include "policy/text.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace penstock::core {

inline constexpr std::chrono::seconds kShortestWait{5}, kLongestWait{3600};
inline constexpr std::size_t kMostProbes = 16;

struct PolicyId {
    std::uint64_t version = 0;
    std::string digest;
    bool operator==(const PolicyId&) const = default;
};

struct PendingPush {
    PolicyId pushed;
    PolicyId before;                 // what it goes back to
    policy::Time until;              // by TrustedTime
    std::chrono::seconds wait{};     // from the push to `until`
    std::vector<std::string> probes; // names of devices
    Asker by;

    [[nodiscard]] nlohmann::json to_json() const;
    // None: the ledger knows of no such push.
    static Result<std::optional<PendingPush>> read(const nlohmann::json& entry);
};

// Of a policy in force that is not the last that was taken.
struct WentBack {
    PolicyId to, from;
    std::string why;

    [[nodiscard]] nlohmann::json to_json() const;
    static Result<std::optional<WentBack>> read(const nlohmann::json& entry);
};

// What happens to the probes from its making on, or to the tunnels if there are none.
class PushWatch {
public:
    struct Traffic {
        std::uint64_t out = 0, in = 0; // packets, of one device
    };
    using Look = std::function<std::optional<Traffic>(const std::string& device)>; // none: no such device

    PushWatch(const PendingPush& push, const Look& look);
    [[nodiscard]] bool is_about(const PendingPush& push) const { return pushed_ == push.pushed; }
    // In words; empty: all is well.
    [[nodiscard]] std::vector<std::string> missing(const Look& look,
                                                   const std::vector<std::string>& tunnels_down) const;

private:
    struct Probe {
        std::string device;
        Traffic before;
    };
    PolicyId pushed_;
    std::vector<Probe> probes_;
};

} // namespace penstock::core
