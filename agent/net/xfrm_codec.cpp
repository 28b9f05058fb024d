#include "agent/net/xfrm_codec.hpp"

#include <arpa/inet.h>

#include <bit>
#include <cstdio>

namespace penstock::net {
namespace {

struct PortMask { // network byte order
    std::uint16_t port, mask;
};

std::optional<PortMask> encode_ports(const PortRange& range) {
    const unsigned size = range.last - range.first + 1U;
    if (range.last < range.first || !std::has_single_bit(size) || range.first % size != 0)
        return std::nullopt;
    return PortMask{htons(range.first), htons(static_cast<std::uint16_t>(~(size - 1)))};
}

PortRange decode_ports(std::uint16_t port, std::uint16_t mask) {
    const std::uint16_t first = ntohs(port) & ntohs(mask);
    return {first, static_cast<std::uint16_t>(first | ~ntohs(mask))};
}

IpPrefix decode_prefix(const xfrm_address_t& address, int family, std::uint8_t length) {
    return {from_xfrm(address, family), length};
}

} // namespace

xfrm_address_t to_xfrm(const IpAddress& address) {
    xfrm_address_t out;
    static_assert(sizeof out == sizeof address.bytes);
    std::memcpy(&out, address.bytes.data(), sizeof out);
    return out;
}

IpAddress from_xfrm(const xfrm_address_t& address, int family) {
    IpAddress out{family, {}};
    std::memcpy(out.bytes.data(), &address, out.bits() / 8);
    return out;
}

Result<xfrm_selector> encode_selector(const Selector& selector, std::string_view what) {
    const int family = selector.source.address.family;
    if ((family != AF_INET && family != AF_INET6) || selector.destination.address.family != family)
        return fail(std::string(what) + ": source and destination must be prefixes of one address family", EINVAL);
    const auto source_ports = encode_ports(selector.source_ports);
    const auto destination_ports = encode_ports(selector.destination_ports);
    if (!source_ports || !destination_ports) {
        const auto& bad = source_ports ? selector.destination_ports : selector.source_ports;
        return fail(std::string(what) + ": ports " + std::to_string(bad.first) + "-" + std::to_string(bad.last) +
                        " do not fit into one XFRM selector (an aligned power of two of ports does)",
                    EINVAL);
    }
    xfrm_selector out{};
    out.family = static_cast<std::uint16_t>(family);
    out.saddr = to_xfrm(selector.source.address);
    out.daddr = to_xfrm(selector.destination.address);
    out.prefixlen_s = static_cast<std::uint8_t>(selector.source.length);
    out.prefixlen_d = static_cast<std::uint8_t>(selector.destination.length);
    out.proto = selector.protocol;
    out.sport = source_ports->port;
    out.sport_mask = source_ports->mask;
    out.dport = destination_ports->port;
    out.dport_mask = destination_ports->mask;
    out.ifindex = selector.ifindex;
    return out;
}

Selector decode_selector(const xfrm_selector& selector) {
    Selector out;
    out.source = decode_prefix(selector.saddr, selector.family, selector.prefixlen_s);
    out.destination = decode_prefix(selector.daddr, selector.family, selector.prefixlen_d);
    out.protocol = selector.proto;
    out.source_ports = decode_ports(selector.sport, selector.sport_mask);
    out.destination_ports = decode_ports(selector.dport, selector.dport_mask);
    out.ifindex = selector.ifindex;
    return out;
}

xfrm_usersa_id encode_id(const SaId& id) {
    xfrm_usersa_id out{};
    out.daddr = to_xfrm(id.destination);
    out.spi = htonl(id.spi);
    out.family = static_cast<std::uint16_t>(id.destination.family);
    out.proto = IPPROTO_ESP;
    return out;
}

std::string describe(const SaId& id) {
    char spi[9];
    std::snprintf(spi, sizeof spi, "%08x", id.spi);
    return std::string("SA ") + spi + " to " + id.destination.str();
}

xfrm_lifetime_cfg unlimited() {
    xfrm_lifetime_cfg out{};
    out.soft_byte_limit = out.hard_byte_limit = XFRM_INF;
    out.soft_packet_limit = out.hard_packet_limit = XFRM_INF;
    return out;
}

} // namespace penstock::net
