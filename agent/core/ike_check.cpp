#include "agent/core/ike_check.hpp"

#include "agent/ike/server.hpp"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>

namespace penstock::core {
namespace {

constexpr Aead kAeads[] = {{20, "rfc4106(gcm(aes))", "AES-GCM-16", 20, 36},
                           {28, "rfc7539esp(chacha20,poly1305)", "ChaCha20-Poly1305", 36, 36}};

// Selectors with ports would send a device's fragments out in clear (they carry none): whole networks only.
std::optional<IpPrefix> whole_network(const pike_selector& selector, const std::vector<IpPrefix>& configured) {
    if (selector.protocol != 0 || selector.from_port != 0 || selector.to_port != 65535)
        return std::nullopt;
    const auto prefix = prefix_of(selector);
    if (!prefix || std::ranges::none_of(configured, [&](const IpPrefix& one) { return one.contains(*prefix); }))
        return std::nullopt;
    return prefix;
}

} // namespace

const Aead* find_aead(std::uint16_t id) {
    const auto* found = std::ranges::find(kAeads, id, &Aead::id);
    return found == std::end(kAeads) ? nullptr : found;
}

const char* aead_name(const std::string& kernel_name) {
    for (const auto& aead : kAeads)
        if (kernel_name == aead.kernel_name)
            return aead.name;
    return kernel_name.c_str();
}

std::optional<IpPrefix> prefix_of(const pike_selector& selector) {
    IpPrefix prefix;
    prefix.address.family = selector.family;
    const unsigned bits = prefix.address.bits();
    while (prefix.length < bits) {
        const unsigned bit = 7 - prefix.length % 8, byte = prefix.length / 8;
        if (((selector.from[byte] ^ selector.to[byte]) >> bit) & 1)
            break;
        prefix.length++;
    }
    std::copy_n(selector.from, bits / 8, prefix.address.bytes.begin());
    for (unsigned i = prefix.length; i < bits; i++) {
        const unsigned bit = 7 - i % 8;
        if (((selector.from[i / 8] >> bit) & 1) != 0 || ((selector.to[i / 8] >> bit) & 1) != 1)
            return std::nullopt;
    }
    return prefix;
}

Result<std::uint32_t> IkeCheck::ends(const IpAddress& source, const IpAddress& destination, bool inbound,
                                     std::uint32_t reqid) const {
    if (reqid == 0 || reqid > config_.tunnels.size())
        return fail("reqid " + std::to_string(reqid) + " belongs to no tunnel");
    const auto& tunnel = config_.tunnels[reqid - 1];
    const auto& peer = inbound ? source : destination;
    const auto& own = inbound ? destination : source;
    if (peer != tunnel.peer)
        return fail(peer.str() + " is not the peer of tunnel " + tunnel.name);
    if (!local_addresses_.contains(own))
        return fail(own.str() + " is not an address of an uplink");
    return reqid - 1;
}

Result<std::uint32_t> IkeCheck::sa(const pike_add_sa& request) const {
    auto tunnel = ends(from_pike(request.id.source), from_pike(request.id.destination), request.inbound, request.reqid);
    if (!tunnel)
        return tunnel;
    if (find_aead(request.encryption) == nullptr)
        return fail("cipher " + std::to_string(request.encryption) + " is not an AEAD with a 16 byte ICV");
    if (request.id.protocol != IPPROTO_ESP || !request.tunnel_mode || request.id.spi_be == 0)
        return fail("not an ESP SA in tunnel mode");
    const auto& configured = config_.tunnels[*tunnel];
    const auto& source_networks = request.inbound ? configured.remote_networks : configured.local_networks;
    const auto& destination_networks = request.inbound ? configured.local_networks : configured.remote_networks;
    for (unsigned i = 0; i < request.source_count + request.destination_count; i++) {
        const auto& networks = i < request.source_count ? source_networks : destination_networks;
        if (!whole_network(request.selectors[i], networks))
            return fail("traffic selector " + to_string(request.selectors[i]) + " is not within the tunnel's networks");
    }
    return tunnel;
}

Result<net::SecurityPolicy> IkeCheck::policy(const pike_policy& request) const {
    const bool out = request.direction == PIKE_DIR_OUT;
    if (request.kind != PIKE_POLICY_IPSEC || !request.tunnel_mode)
        return fail("only policies that demand ESP in tunnel mode");
    const auto source = from_pike(request.tunnel_source), destination = from_pike(request.tunnel_destination);
    const auto tunnel = ends(source, destination, !out, request.reqid);
    if (!tunnel)
        return tl::unexpected(tunnel.error());
    const auto& configured = config_.tunnels[*tunnel];
    const auto from = whole_network(request.source, out ? configured.local_networks : configured.remote_networks);
    const auto to = whole_network(request.destination, out ? configured.remote_networks : configured.local_networks);
    if (!from || !to)
        return fail(to_string(request.source) + " to " + to_string(request.destination) +
                    " is not within the tunnel's networks");
    net::SecurityPolicy policy;
    policy.selector = {.source = *from, .destination = *to};
    policy.direction = static_cast<net::Direction>(request.direction);
    policy.priority = kTunnelPriority;
    policy.transform = {.source = source, .destination = destination, .reqid = request.reqid};
    return policy;
}

bool IkeCheck::is_of_tunnel(const net::SecurityPolicy& policy) const {
    if (!policy.transform || policy.foreign || policy.transform->reqid == 0 ||
        policy.transform->reqid > config_.tunnels.size())
        return false;
    const auto& tunnel = config_.tunnels[policy.transform->reqid - 1];
    const bool out = policy.direction == net::Direction::out;
    const auto within = [](const std::vector<IpPrefix>& networks, const IpPrefix& one) {
        return std::ranges::any_of(networks, [&](const IpPrefix& network) { return network.contains(one); });
    };
    return (out ? policy.transform->destination : policy.transform->source) == tunnel.peer &&
           within(out ? tunnel.local_networks : tunnel.remote_networks, policy.selector.source) &&
           within(out ? tunnel.remote_networks : tunnel.local_networks, policy.selector.destination);
}

} // namespace penstock::core
