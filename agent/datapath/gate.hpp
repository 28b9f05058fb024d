// What the packet path is told about the gateway: its interfaces and addresses, its tunnels and their SAs.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/datapath/typed_map.hpp"
#include "bpf/penstock_abi.h"

#include <set>
#include <utility>
#include <vector>

namespace penstock::datapath {

struct RemoteNetwork {
    IpPrefix prefix;
    std::uint32_t tunnel = 0; // index, below PENSTOCK_MAX_TUNNELS
};

// A frame on `carrier` that begins with this header is one of `upper`.
struct Carried {
    int carrier = 0;             // interfaces by their index
    std::uint16_t ethertype = 0; // ETH_P_8021Q, ETH_P_8021AD, ETH_P_PPP_SES; 0: `carrier` is a port of `upper`
    std::uint16_t id = 0;        // VLAN, or PPPoE session
    int upper = 0;
    bool operator==(const Carried&) const = default;
};

// What a service of the gateway may send.
struct EssentialRule {
    IpPrefix network;         // of the other side
    std::uint64_t cgroup = 0; // v2 id
    std::uint8_t proto = 0;   // IPPROTO_*
    std::uint16_t port = 0;
    bool local = false; // the port is the gateway's
};

class Gate {
public:
    static Result<Gate> make(const Programs& programs);

    struct Flags {
        bool esp_in_user_space = false;
        bool host_egress_open = false;
        bool dhcp_owned = false; // by an essential
    };
    Status set_flags(const Flags& flags);
    // l2_len: 14 or 0; flags: enum penstock_link_flags
    Status set_link(int ifindex, penstock_link_role role, unsigned l2_len, unsigned flags = 0);
    // Makes the map hold exactly these. Of two for one header the last one counts.
    Status set_carried(const std::vector<Carried>& carried);
    void keep_links(const std::set<int>& ifindexes); // forgets all others
    [[nodiscard]] penstock_link_role role(int ifindex) const;
    // Makes the map hold exactly these (ifindex, address) pairs.
    Status set_host_addresses(const std::set<std::pair<int, IpAddress>>& addresses);
    Status set_remote_networks(const std::vector<RemoteNetwork>& networks);

    // Makes the map hold exactly these: networks of which no address is ever in clear on an uplink.
    Status set_guarded_networks(const std::set<IpPrefix>& networks);

    // At most PENSTOCK_MAX_ESSENTIALS.
    Status set_essentials(const std::vector<EssentialRule>& rules);

    Status set_tunnel(std::uint32_t tunnel, bool up);
    [[nodiscard]] bool tunnel_up(std::uint32_t tunnel) const;
    // The largest IP packet that fits into it; 0: not known.
    Status set_tunnel_mtu(std::uint32_t tunnel, unsigned mtu);
    // Outbound SAs. spi in host byte order; SPI 0 stands for the peer itself.
    Status add_sa(const IpAddress& destination, std::uint32_t spi, std::uint32_t tunnel);
    Status remove_sa(const IpAddress& destination, std::uint32_t spi);
    struct Sa {
        IpAddress destination;
        std::uint32_t spi;
        std::uint32_t tunnel;
    };
    [[nodiscard]] std::vector<Sa> sas() const;

private:
    // The arrays in front of the two hashes.
    Status put_near(const penstock_sa_key& key) const;
    Status clear_near(const penstock_sa_key& key) const;
    Status put_near(std::uint32_t ifindex, const penstock_link& link) const;
    Status clear_near(std::uint32_t ifindex) const;

    TypedMap<std::uint32_t, std::uint32_t> gate_;
    TypedMap<std::uint32_t, penstock_link> links_;
    TypedMap<penstock_carrier, std::uint32_t> carriers_;
    TypedMap<penstock_host_address, std::uint8_t> host_addresses_;
    TypedMap<penstock_sa_key, std::uint32_t> sas_;
    TypedMap<std::uint32_t, penstock_near_link> near_links_;
    TypedMap<std::uint32_t, penstock_sa_key> near_sas_;
    TypedMap<std::uint32_t, penstock_tunnel> tunnels_;
    TypedMap<std::uint32_t, penstock_selector> selectors_;
    TypedMap<penstock_network, std::uint8_t> guarded_networks_;
    TypedMap<std::uint32_t, penstock_essential> essentials_;
};

// The address of a map key, IPv4 out of ::ffff:0:0/96.
IpAddress from_abi(const penstock_addr& address);
penstock_addr to_abi(const IpAddress& address);
// The mask of a prefix over the mapped address; IPv4's covers the ::ffff too.
penstock_addr mask_of(const IpPrefix& prefix);
penstock_addr mask_of_bits(unsigned bits); // 0..128 leading ones

} // namespace penstock::datapath
