// Every limit of the rule book and its bundles, with the name that a refusal cites.
#pragma once

#include <cstdint>
#include <string>

namespace penstock::policy {

struct Limit {
    const char* name;
    std::uint64_t value;
};

inline constexpr Limit kMaxEnvelopeBytes{"envelope_bytes", 128ULL << 20};
inline constexpr Limit kMaxRootBytes{"root_bytes", 1ULL << 20};
inline constexpr Limit kMaxRootChainBytes{"root_chain_bytes", 8ULL << 20}; // of all its root documents
inline constexpr Limit kMaxYamlBytes{"yaml_bytes", 64ULL << 20};           // each file
inline constexpr Limit kMaxKeyBytes{"key_bytes", 16ULL << 10};
inline constexpr Limit kMaxYamlFiles{"yaml_files", 256};

inline constexpr Limit kMaxDepth{"depth", 16};             // of maps and lists
inline constexpr Limit kMaxValues{"values", 4'000'000};    // maps, lists, keys and scalars of one document
inline constexpr Limit kMaxTextBytes{"text_bytes", 1'024}; // one key or text

inline constexpr Limit kMaxVersion{"version", (1ULL << 53) - 1}; // what every JSON reader keeps exactly
inline constexpr Limit kMaxNameBytes{"name_bytes", 64};
inline constexpr Limit kMaxGateways{"gateways", 256};
inline constexpr Limit kMaxServices{"services", 4'096};
inline constexpr Limit kMaxGroups{"groups", 4'096};
inline constexpr Limit kMaxDevices{"devices", 100'000};
inline constexpr Limit kMaxPeersPerService{"peers_per_service", 32}; // entries of `to` or `from`
inline constexpr Limit kMaxPortsPerService{"ports_per_service", 32};
inline constexpr Limit kMaxServicesPerGroup{"services_per_group", 32}; // of `allow`, and of `deny`
inline constexpr Limit kMaxAddressesPerDevice{"addresses_per_device", 8};
inline constexpr Limit kMaxGroupsPerDevice{"groups_per_device", 8};
inline constexpr Limit kMaxRulesPerDevice{"rules_per_device", 64}; // peers x ports over all services of its groups
inline constexpr Limit kMaxRules{"rules", 1'000'000};              // of all blocks; devices of equal groups share one
inline constexpr Limit kMinRate{"min_rate", 1'000};                // bytes a second
inline constexpr Limit kMaxRate{"max_rate", 1'000'000'000'000};
inline constexpr Limit kMaxPacketRate{"packet_rate", 1'000'000'000};

inline constexpr Limit kMaxSignatures{"signatures", 64};
inline constexpr Limit kMaxSignatureBytes{"signature_bytes", 256};
inline constexpr Limit kMaxRootKeys{"root_keys", 64};

// "limit devices (100000)"
inline std::string describe(const Limit& limit) {
    return std::string("limit ") + limit.name + " (" + std::to_string(limit.value) + ")";
}

} // namespace penstock::policy
