#include "agent/datapath/gate.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <map>
#include <sys/socket.h>

namespace penstock::datapath {
namespace {

penstock_sa_key sa_key(const IpAddress& destination, std::uint32_t spi) {
    return {.destination = to_abi(destination), .spi_be = htonl(spi)};
}

// Keys of maps, which have no padding.
template <class Key> struct KeyLess {
    bool operator()(const Key& a, const Key& b) const { return std::memcmp(&a, &b, sizeof a) < 0; }
};

// Makes the map hold exactly these, new ones first.
template <class Key, class Value>
Status make_equal(const TypedMap<Key, Value>& map, const std::map<Key, Value, KeyLess<Key>>& wanted) {
    for (const auto& [key, value] : wanted)
        if (auto ok = map.put(key, value); !ok)
            return ok;
    for (const auto& [key, value] : map.entries())
        if (!wanted.contains(key))
            if (auto ok = map.remove(key); !ok)
                return ok;
    return {};
}

} // namespace

IpAddress from_abi(const penstock_addr& address) {
    static constexpr std::uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    IpAddress out;
    if (std::equal(std::begin(kMapped), std::end(kMapped), address.bytes)) {
        out.family = AF_INET;
        std::copy_n(address.bytes + 12, 4, out.bytes.begin());
    } else {
        out.family = AF_INET6;
        std::copy_n(address.bytes, 16, out.bytes.begin());
    }
    return out;
}

penstock_addr to_abi(const IpAddress& address) {
    penstock_addr out;
    const auto mapped = address.mapped();
    std::memcpy(out.bytes, mapped.data(), sizeof out.bytes);
    return out;
}

penstock_addr mask_of_bits(unsigned bits) {
    penstock_addr out{};
    for (unsigned i = 0; i < bits; i++)
        out.bytes[i / 8] |= static_cast<std::uint8_t>(1U << (7 - i % 8));
    return out;
}

penstock_addr mask_of(const IpPrefix& prefix) {
    return mask_of_bits(prefix.length + (prefix.address.family == AF_INET ? 96 : 0));
}

Result<Gate> Gate::make(const Programs& programs) {
    Gate out;
    const auto adopt = [&programs](auto& map, const char* name) -> Status {
        auto fd = programs.map_fd(name);
        if (!fd)
            return tl::unexpected(fd.error());
        map = std::remove_reference_t<decltype(map)>(name, std::move(*fd));
        return {};
    };
    for (const auto& ok :
         {adopt(out.gate_, "gate"), adopt(out.links_, "links"), adopt(out.carriers_, "carriers"),
          adopt(out.host_addresses_, "host_addresses"), adopt(out.sas_, "sas"), adopt(out.near_links_, "near_links"),
          adopt(out.near_sas_, "near_sas"), adopt(out.tunnels_, "tunnels"), adopt(out.selectors_, "selectors"),
          adopt(out.guarded_networks_, "guarded_networks"), adopt(out.essentials_, "essentials")})
        if (!ok)
            return tl::unexpected(ok.error());
    return out;
}

Status Gate::set_flags(const Flags& flags) {
    std::uint32_t bits = 0;
    if (flags.esp_in_user_space)
        bits |= PENSTOCK_ESP_USER;
    if (flags.host_egress_open)
        bits |= PENSTOCK_HOST_EGRESS_OPEN;
    if (flags.dhcp_owned)
        bits |= PENSTOCK_DHCP_OWNED;
    return gate_.put(PENSTOCK_GATE_FLAGS, bits);
}

// Rule by rule, each as a whole: one that is gone ends the list only after the others have moved up.
Status Gate::set_essentials(const std::vector<EssentialRule>& rules) {
    for (std::uint32_t i = 0; i < PENSTOCK_MAX_ESSENTIALS; i++) {
        const auto old = essentials_.find(i);
        if (i >= rules.size()) {
            if (auto ok = old ? essentials_.remove(i) : Status{}; !ok)
                return ok;
            continue;
        }
        penstock_essential one{};
        one.address = to_abi(rules[i].network.address);
        one.mask = mask_of(rules[i].network);
        one.cgroup = rules[i].cgroup;
        one.port = rules[i].port;
        one.proto = rules[i].proto;
        one.local = rules[i].local ? 1 : 0;
        if (!old || std::memcmp(&one, &*old, sizeof one) != 0)
            if (auto ok = essentials_.put(i, one); !ok)
                return ok;
    }
    return {};
}

Status Gate::set_link(int ifindex, penstock_link_role role, unsigned l2_len, unsigned flags) {
    penstock_link link{};
    link.role = static_cast<std::uint8_t>(role);
    link.l2_len = static_cast<std::uint8_t>(l2_len);
    link.flags = static_cast<std::uint8_t>(flags);
    const auto index = static_cast<std::uint32_t>(ifindex);
    const bool uplink = role == PENSTOCK_LINK_UPLINK;
    auto ok = uplink ? Status{} : clear_near(index);
    keep_first(ok, links_.put(index, link));
    if (ok && uplink) // no other may take its place there
        ok = put_near(index, link);
    return ok;
}

Status Gate::set_carried(const std::vector<Carried>& carried) {
    std::map<penstock_carrier, std::uint32_t, KeyLess<penstock_carrier>> wanted;
    for (const auto& one : carried)
        wanted[{.ifindex = static_cast<std::uint32_t>(one.carrier), .ethertype = one.ethertype, .id = one.id}] =
            static_cast<std::uint32_t>(one.upper);
    return make_equal(carriers_, wanted);
}

Status Gate::put_near(std::uint32_t ifindex, const penstock_link& link) const {
    return near_links_.put(ifindex % PENSTOCK_NEAR, {.ifindex = ifindex, .link = link});
}

Status Gate::clear_near(std::uint32_t ifindex) const {
    const auto entry = near_links_.find(ifindex % PENSTOCK_NEAR);
    return entry && entry->ifindex == ifindex ? near_links_.put(ifindex % PENSTOCK_NEAR, {}) : Status{};
}

void Gate::keep_links(const std::set<int>& ifindexes) {
    for (const auto& [ifindex, link] : links_.entries())
        if (!ifindexes.contains(static_cast<int>(ifindex))) {
            (void)clear_near(ifindex); // an entry that stays names an index that no interface has
            (void)links_.remove(ifindex);
        }
}

penstock_link_role Gate::role(int ifindex) const {
    const auto link = links_.find(static_cast<std::uint32_t>(ifindex));
    return link ? static_cast<penstock_link_role>(link->role) : PENSTOCK_LINK_OTHER;
}

Status Gate::set_host_addresses(const std::set<std::pair<int, IpAddress>>& addresses) {
    std::map<penstock_host_address, std::uint8_t, KeyLess<penstock_host_address>> wanted;
    for (const auto& [ifindex, address] : addresses)
        wanted[{.address = to_abi(address), .ifindex = static_cast<std::uint32_t>(ifindex)}] = 1;
    return make_equal(host_addresses_, wanted);
}

Status Gate::set_guarded_networks(const std::set<IpPrefix>& networks) {
    std::map<penstock_network, std::uint8_t, KeyLess<penstock_network>> wanted;
    for (const auto& network : networks)
        wanted[{.bits = network.length + (network.address.family == AF_INET ? 96 : 0),
                .address = to_abi(network.address)}] = 1;
    return make_equal(guarded_networks_, wanted);
}

Status Gate::set_remote_networks(const std::vector<RemoteNetwork>& networks) {
    if (networks.size() > PENSTOCK_MAX_SELECTORS)
        return fail("more than " + std::to_string(PENSTOCK_MAX_SELECTORS) + " remote networks");
    for (std::uint32_t i = 0; i < PENSTOCK_MAX_SELECTORS; i++) {
        penstock_selector selector{};
        if (i < networks.size()) {
            selector.address = to_abi(networks[i].prefix.address);
            selector.mask = mask_of(networks[i].prefix);
            selector.tunnel = networks[i].tunnel;
            selector.used = 1;
        }
        if (auto ok = selectors_.put(i, selector); !ok)
            return ok;
    }
    return {};
}

Status Gate::set_tunnel(std::uint32_t tunnel, bool up) {
    auto state = tunnels_.find(tunnel).value_or(penstock_tunnel{});
    state.up = up ? 1 : 0;
    return tunnels_.put(tunnel, state);
}

Status Gate::set_tunnel_mtu(std::uint32_t tunnel, unsigned mtu) {
    auto state = tunnels_.find(tunnel).value_or(penstock_tunnel{});
    if (state.mtu == mtu)
        return {};
    state.mtu = mtu;
    return tunnels_.put(tunnel, state);
}

bool Gate::tunnel_up(std::uint32_t tunnel) const {
    const auto state = tunnels_.find(tunnel);
    return state && state->up;
}

Status Gate::add_sa(const IpAddress& destination, std::uint32_t spi, std::uint32_t tunnel) {
    const auto key = sa_key(destination, spi);
    if (auto ok = sas_.put(key, tunnel); !ok || spi == 0)
        return ok;
    return put_near(key);
}

Status Gate::remove_sa(const IpAddress& destination, std::uint32_t spi) {
    const auto key = sa_key(destination, spi);
    auto ok = clear_near(key);
    keep_first(ok, sas_.remove(key));
    return ok;
}

// Who reads it in between must not see one SA's SPI beside another's destination.
Status Gate::put_near(const penstock_sa_key& key) const {
    const auto place = ntohl(key.spi_be) % PENSTOCK_NEAR;
    auto entry = near_sas_.find(place).value_or(penstock_sa_key{});
    if (std::memcmp(&entry, &key, sizeof key) == 0)
        return {};
    entry.spi_be = 0;
    auto ok = near_sas_.put(place, entry);
    entry.destination = key.destination;
    keep_first(ok, near_sas_.put(place, entry));
    keep_first(ok, near_sas_.put(place, key));
    return ok;
}

Status Gate::clear_near(const penstock_sa_key& key) const {
    const auto place = ntohl(key.spi_be) % PENSTOCK_NEAR;
    const auto entry = near_sas_.find(place);
    return entry && std::memcmp(&*entry, &key, sizeof key) == 0 ? near_sas_.put(place, {}) : Status{};
}

std::vector<Gate::Sa> Gate::sas() const {
    std::vector<Sa> out;
    for (const auto& [key, tunnel] : sas_.entries())
        out.push_back({.destination = from_abi(key.destination), .spi = ntohl(key.spi_be), .tunnel = tunnel});
    return out;
}

} // namespace penstock::datapath
