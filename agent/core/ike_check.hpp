// Whether what penstock-ike asks for is what the configuration wants: AEAD ESP in tunnel mode between an uplink's
// address and a configured peer, for whole networks of that tunnel. Pure: touches nothing.
#pragma once

#include "agent/core/config.hpp"
#include "agent/ike/channel.h"
#include "agent/net/xfrm.hpp"

#include <cstdint>
#include <optional>
#include <set>

namespace penstock::core {

// What may be installed, by its IKEv2 transform id (IANA): AEAD with a 16 byte ICV.
struct Aead {
    std::uint16_t id;
    const char* kernel_name;
    const char* name;
    std::size_t min_key, max_key; // bytes, salt included
};
const Aead* find_aead(std::uint16_t id);               // nullptr: may not
const char* aead_name(const std::string& kernel_name); // of what the kernel calls it; itself if unknown

// Of the tunnels' policies; the base policies stand behind (base_policies.cpp).
inline constexpr std::uint32_t kTunnelPriority = 1000;

// The prefix that an IKEv2 address range stands for, if it is one.
std::optional<IpPrefix> prefix_of(const pike_selector& selector);

class IkeCheck {
public:
    explicit IkeCheck(const Config& config) : config_(config) {}
    void set_local_addresses(std::set<IpAddress> addresses) { local_addresses_ = std::move(addresses); }

    // The index of the tunnel. Outer addresses.
    [[nodiscard]] Result<std::uint32_t> ends(const IpAddress& source, const IpAddress& destination, bool inbound,
                                             std::uint32_t reqid) const;
    [[nodiscard]] Result<std::uint32_t> sa(const pike_add_sa& request) const;
    [[nodiscard]] Result<net::SecurityPolicy> policy(const pike_policy& request) const;
    // Whether policy() could have made it for a tunnel of the configuration; the near end is not looked at, since an
    // uplink's address may have changed.
    [[nodiscard]] bool is_of_tunnel(const net::SecurityPolicy& policy) const;

private:
    const Config& config_;
    std::set<IpAddress> local_addresses_; // of the uplinks, now
};

} // namespace penstock::core
