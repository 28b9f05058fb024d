// What the agent keeps over restarts, in the state folder (agent/store/sealed_folder). Beside it the folder `audit`.
#pragma once

#include "agent/store/audit_log.hpp"

namespace penstock::core {

// Files of their own.
inline constexpr const char* kPolicyBundle = "policy.bundle";
inline constexpr const char* kPolicyBefore =
    "policy.before"; // what a push that waits goes back to; else empty, or not there
inline constexpr const char* kRootChain = "root.chain";
// What the witness saw, until an operator clears it: a reboot takes the maps away. An empty file, which can be seen
// before there is a key; what it saw is in the ledger.
inline constexpr const char* kSighting = "witness";

// Releases of the guard by who had no key, a JSON object a line.
inline constexpr const char* kUnsealedReleases = "releases";
inline constexpr const char* kReleased = "guard_released"; // the event

// In the ledger.
inline constexpr const char* kLastPolicy = "policy";   // version and digest; never lower than before
inline constexpr const char* kPendingPush = "pending"; // see pending_push.hpp
inline constexpr const char* kWentBack = "went_back";  // the same; not there: the last policy is the one to be loaded
inline constexpr const char* kLastRoot = "root";       // version
inline constexpr const char* kSeen = "witness";        // the frame, in words
inline constexpr const char* kPrivacyKey = "privacy";  // of the pseudonyms, hex

// Takes over what a version without seals left, and looks whether the ledger is the newest there was. After an error
// the folder is closed.
Status open_state(store::SealedFolder& state, const store::AuditLog::Limits& limits);

// Takes the unsealed releases, oldest first, as fields of events, and removes their file: anybody may have written it.
std::vector<nlohmann::json> take_unsealed_releases(const store::SealedFolder& state);

} // namespace penstock::core
