#include "agent/core/ipsec.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <ctime>

namespace penstock::core {
namespace {

using Clock = std::chrono::steady_clock;

// A packet encrypted just before its SA went is still on its way to the uplink's hook.
constexpr auto kLinger = std::chrono::seconds(2);
// The peer needs a moment to move to the successor.
constexpr auto kOrphanLinger = std::chrono::seconds(5);
// Of the tunnels' policies; the base policies of layer 3 stand behind (guard.cpp).
constexpr std::uint32_t kTunnelPriority = 1000;

// IKEv2 transform ids (IANA) of what may be installed: AEAD with a 16 byte ICV.
struct Aead {
    std::uint16_t id;
    const char* kernel_name;
    const char* name;
    std::size_t min_key, max_key; // bytes, salt included
};
constexpr Aead kAeads[] = {{20, "rfc4106(gcm(aes))", "AES-GCM-16", 20, 36},
                           {28, "rfc7539esp(chacha20,poly1305)", "ChaCha20-Poly1305", 36, 36}};

const Aead* find_aead(std::uint16_t id) {
    const auto* found = std::ranges::find(kAeads, id, &Aead::id);
    return found == std::end(kAeads) ? nullptr : found;
}

std::string hex(std::uint32_t spi) {
    char text[9];
    std::snprintf(text, sizeof text, "%08x", spi);
    return text;
}

// The prefix that an IKEv2 address range stands for, if it is one.
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

// Selectors with ports would send a device's fragments out in clear (they carry none): whole networks only.
std::optional<IpPrefix> whole_network(const pike_selector& selector, const std::vector<IpPrefix>& configured) {
    if (selector.protocol != 0 || selector.from_port != 0 || selector.to_port != 65535)
        return std::nullopt;
    const auto prefix = prefix_of(selector);
    if (!prefix || std::ranges::none_of(configured, [&](const IpPrefix& one) { return one.contains(*prefix); }))
        return std::nullopt;
    return prefix;
}

std::string policy_key(const net::SecurityPolicy& policy) {
    return std::to_string(static_cast<int>(policy.direction)) + " " + policy.selector.source.str() + " " +
           policy.selector.destination.str();
}

// Wall clock, as the kernel gives it, to the monotonic one that libcharon compares with.
std::int64_t to_monotonic(std::uint64_t wall) {
    if (wall == 0)
        return 0;
    timespec monotonic{}, real{};
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_REALTIME, &real);
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(wall) - real.tv_sec + monotonic.tv_sec);
}

net::SaId sa_id(const pike_sa_id& id) { return {.destination = from_pike(id.destination), .spi = ntohl(id.spi_be)}; }

} // namespace

Ipsec::Ipsec(const Config& config, const datapath::Marks& marks, EventLog& events, datapath::Gate& gate,
             std::function<void()> changed)
    : config_(config), marks_(marks), events_(events), gate_(gate), changed_(std::move(changed)) {}

pike_status Ipsec::refuse(std::string_view what, const std::string& why) {
    events_.add(log::Level::error, "ike_request_refused", {{"request", what}, {"why", why}});
    return PIKE_FAILED;
}

Result<std::uint32_t> Ipsec::check_ends(const IpAddress& source, const IpAddress& destination, bool inbound,
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

Result<std::uint32_t> Ipsec::check_sa(const pike_add_sa& request) const {
    auto tunnel =
        check_ends(from_pike(request.id.source), from_pike(request.id.destination), request.inbound, request.reqid);
    if (!tunnel)
        return tunnel;
    if (forbidden_.contains(*tunnel))
        return fail("tunnel " + config_.tunnels[*tunnel].name + " was taken down by the operator");
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

Status Ipsec::install(const pike_add_sa& request, std::uint32_t tunnel) {
    const auto* aead = find_aead(request.encryption);
    if (request.key_length < aead->min_key || request.key_length > aead->max_key)
        return fail("a key of " + std::to_string(request.key_length) + " bytes");
    net::SecurityAssociation sa;
    sa.source = from_pike(request.id.source);
    sa.destination = from_pike(request.id.destination);
    sa.spi = ntohl(request.id.spi_be);
    sa.reqid = tunnel + 1;
    sa.inbound = request.inbound;
    sa.aead = aead->kernel_name;
    sa.key = net::SecretBytes(std::span(request.key, request.key_length));
    if (request.encapsulate)
        sa.encapsulation = {.source_port = request.id.source.port, .destination_port = request.id.destination.port};
    sa.esn = request.esn;
    sa.replay_window = request.inbound ? request.replay_window : 0;
    if (!request.inbound) {
        sa.output_mark = marks_.esp;
        sa.output_mark_mask = marks_.mask;
    }
    sa.lifetime.soft_seconds = request.soft_seconds;
    sa.lifetime.hard_seconds = request.hard_seconds;
    return request.update ? net::complete_sa(sa) : net::add_sa(sa);
}

void Ipsec::note_sa(const pike_add_sa& request, std::uint32_t tunnel) {
    InstalledSa sa{.tunnel = tunnel,
                   .source = from_pike(request.id.source),
                   .destination = from_pike(request.id.destination),
                   .spi = ntohl(request.id.spi_be),
                   .inbound = request.inbound != 0,
                   .cipher = find_aead(request.encryption)->name,
                   .since = Clock::now()};
    events_.add(log::Level::info, "sa_installed",
                {{"tunnel", config_.tunnels[tunnel].name},
                 {"direction", sa.inbound ? "in" : "out"},
                 {"spi", hex(sa.spi)},
                 {"cipher", sa.cipher},
                 {"source", sa.source.str()},
                 {"destination", sa.destination.str()},
                 {"esp", user_esp_ ? "user" : "kernel"}});
    sas_.push_back(std::move(sa));
}

// The gate knows the SPI before the SA exists: an encrypted packet never meets a gate that does not know it.
pike_status Ipsec::add_sa(const pike_add_sa& request) {
    const auto tunnel = check_sa(request);
    if (!tunnel)
        return refuse("add_sa", tunnel.error().message());
    const auto id = sa_id(request.id);
    if (!request.inbound)
        if (auto ok = gate_.add_sa(id.destination, id.spi, *tunnel); !ok)
            return refuse("add_sa", ok.error().message());
    if (!user_esp_)
        if (auto ok = install(request, *tunnel); !ok) {
            if (!request.inbound)
                (void)gate_.remove_sa(id.destination, id.spi); // an SPI without an SA passes nothing
            return refuse("add_sa", ok.error().message());
        }
    note_sa(request, *tunnel);
    if (!request.inbound) {
        retire_orphans(*tunnel);
        update_tunnel(*tunnel);
    }
    return PIKE_OK;
}

pike_status Ipsec::approve_sa(const pike_add_sa& request) {
    return user_esp_ ? add_sa(request) : refuse("approve_sa", "ESP is the kernel's here");
}

pike_status Ipsec::update_sa(const pike_update_sa& request) {
    const auto id = sa_id(request.id);
    const auto source = from_pike(request.new_source), destination = from_pike(request.new_destination);
    const auto found = std::ranges::find_if(
        sas_, [&](const InstalledSa& sa) { return sa.spi == id.spi && sa.destination == id.destination; });
    if (found == sas_.end())
        return PIKE_NOT_FOUND;
    if (auto ok = check_ends(source, destination, found->inbound, found->tunnel + 1); !ok)
        return refuse("update_sa", ok.error().message());
    if (!found->inbound)
        if (auto ok = gate_.add_sa(destination, id.spi, found->tunnel); !ok)
            return refuse("update_sa", ok.error().message());
    if (!user_esp_) {
        std::optional<net::UdpEncapsulation> udp;
        if (request.new_encapsulate)
            udp = {.source_port = request.new_source.port, .destination_port = request.new_destination.port};
        if (auto ok = net::move_sa(id, source, destination, udp); !ok)
            return refuse("update_sa", ok.error().message());
    }
    if (!found->inbound && destination != id.destination)
        leaving_.emplace_back(Clock::now() + kLinger, id);
    found->source = source;
    found->destination = destination;
    return PIKE_OK;
}

pike_status Ipsec::del_sa(const pike_sa_id& request) {
    const auto id = sa_id(request);
    for (std::size_t i = 0; i < sas_.size(); i++)
        if (sas_[i].spi == id.spi && sas_[i].destination == id.destination) {
            forget(i);
            return PIKE_OK;
        }
    // An SPI that was only reserved.
    if (!user_esp_)
        if (auto ok = net::delete_sa(id); !ok && ok.error().code() != ESRCH)
            return PIKE_FAILED;
    return PIKE_OK;
}

void Ipsec::forget(std::size_t index) {
    const auto sa = sas_[index];
    sas_.erase(sas_.begin() + static_cast<std::ptrdiff_t>(index));
    const net::SaId id{.destination = sa.destination, .spi = sa.spi};
    if (!user_esp_)
        if (auto ok = net::delete_sa(id); !ok && ok.error().code() != ESRCH)
            events_.add(log::Level::error, "sa_delete_failed", {{"spi", hex(sa.spi)}, {"why", ok.error().message()}});
    if (!sa.inbound)
        leaving_.emplace_back(Clock::now() + kLinger, id);
    events_.add(
        log::Level::info, "sa_removed",
        {{"tunnel", config_.tunnels[sa.tunnel].name}, {"direction", sa.inbound ? "in" : "out"}, {"spi", hex(sa.spi)}});
    update_tunnel(sa.tunnel);
}

bool Ipsec::tunnel_up(std::uint32_t tunnel) const {
    return std::ranges::any_of(
        sas_, [&](const InstalledSa& sa) { return sa.tunnel == tunnel && !sa.inbound && !sa.retiring; });
}

void Ipsec::update_tunnel(std::uint32_t tunnel) {
    const bool up = tunnel_up(tunnel);
    if (gate_.tunnel_up(tunnel) != up) {
        if (auto ok = gate_.set_tunnel(tunnel, up); !ok)
            events_.add(log::Level::error, "gate_failed", {{"why", ok.error().message()}});
        events_.add(log::Level::info, up ? "tunnel_up" : "tunnel_down", {{"tunnel", config_.tunnels[tunnel].name}});
    }
    changed_();
}

Status Ipsec::adopt() {
    if (user_esp_) {
        ike_gone();
        return {};
    }
    auto present = net::list_sas();
    if (!present)
        return tl::unexpected(present.error());
    for (const auto& sa : *present) {
        if (sa.protocol != IPPROTO_ESP || sa.aead.empty() || sa.reqid == 0 || sa.reqid > config_.tunnels.size())
            continue;
        const auto& peer = config_.tunnels[sa.reqid - 1].peer;
        if (sa.source == peer)
            remember_orphan(sa, sa.reqid - 1);
        else if (sa.destination == peer && sa.output_mark == marks_.esp && sa.output_mark_mask == marks_.mask)
            remember_orphan(sa, sa.reqid - 1);
    }
    // The gate must know exactly the SAs there are, and the peers.
    for (const auto& sa : gate_.sas())
        if (sa.spi != 0 && std::ranges::none_of(sas_, [&](const InstalledSa& one) {
                return one.spi == sa.spi && one.destination == sa.destination && !one.inbound;
            }))
            leaving_.emplace_back(Clock::now(), net::SaId{.destination = sa.destination, .spi = sa.spi});
    for (const auto& sa : sas_)
        if (!sa.inbound)
            if (auto ok = gate_.add_sa(sa.destination, sa.spi, sa.tunnel); !ok)
                return ok;
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++)
        update_tunnel(i);
    return {};
}

void Ipsec::remember_orphan(const net::SaStatus& sa, std::uint32_t tunnel) {
    sas_.push_back({.tunnel = tunnel,
                    .source = sa.source,
                    .destination = sa.destination,
                    .spi = sa.spi,
                    .inbound = sa.source == config_.tunnels[tunnel].peer,
                    .cipher = sa.aead,
                    .since = Clock::now(),
                    .orphan = true});
    events_.add(log::Level::info, "sa_adopted",
                {{"tunnel", config_.tunnels[tunnel].name},
                 {"direction", sas_.back().inbound ? "in" : "out"},
                 {"spi", hex(sa.spi)}});
}

void Ipsec::ike_gone() {
    policy_uses_.clear();
    if (user_esp_) {
        sas_.clear();
        for (const auto& sa : gate_.sas())
            if (sa.spi != 0)
                leaving_.emplace_back(Clock::now(), net::SaId{.destination = sa.destination, .spi = sa.spi});
        for (std::uint32_t i = 0; i < config_.tunnels.size(); i++)
            update_tunnel(i);
        return;
    }
    for (auto& sa : sas_)
        sa.orphan = true;
}

void Ipsec::retire_orphans(std::uint32_t tunnel) {
    for (auto& sa : sas_)
        if (sa.tunnel == tunnel && sa.orphan && !sa.retiring) {
            sa.retiring = true;
            sa.since = Clock::now();
        }
}

void Ipsec::sweep() {
    const auto now = Clock::now();
    for (std::size_t i = sas_.size(); i-- > 0;)
        if (sas_[i].retiring && now - sas_[i].since >= kOrphanLinger)
            forget(i);
    std::erase_if(leaving_, [&](const auto& entry) {
        if (entry.first > now)
            return false;
        if (auto ok = gate_.remove_sa(entry.second.destination, entry.second.spi); !ok)
            events_.add(log::Level::error, "gate_failed", {{"why", ok.error().message()}});
        return true;
    });
}

void Ipsec::expired(const net::SaId& id, bool hard) {
    if (!hard)
        return;
    for (std::size_t i = 0; i < sas_.size(); i++)
        if (sas_[i].spi == id.spi && sas_[i].destination == id.destination)
            return forget(i);
}

void Ipsec::drop_tunnel(std::uint32_t tunnel) {
    for (std::size_t i = sas_.size(); i-- > 0;)
        if (sas_[i].tunnel == tunnel)
            forget(i);
}

void Ipsec::allow_tunnel(std::uint32_t tunnel, bool allowed) {
    if (allowed)
        forbidden_.erase(tunnel);
    else
        forbidden_.insert(tunnel);
}

IkeSpi Ipsec::get_spi(const pike_get_spi& request) {
    if (user_esp_)
        return {PIKE_NOT_SUPPORTED, 0};
    const auto source = from_pike(request.source), destination = from_pike(request.destination);
    const auto tunnel = std::ranges::find(config_.tunnels, source, &TunnelConfig::peer);
    if (tunnel == config_.tunnels.end()) {
        refuse("get_spi", source.str() + " is no peer");
        return {};
    }
    const auto reqid = static_cast<std::uint32_t>(tunnel - config_.tunnels.begin()) + 1;
    const auto spi = net::allocate_spi(source, destination, reqid);
    if (!spi) {
        refuse("get_spi", spi.error().message());
        return {};
    }
    return {PIKE_OK, htonl(*spi)};
}

IkeUsage Ipsec::query_sa(const pike_sa_id& id) {
    const auto sa = net::query_sa(sa_id(id));
    if (!sa)
        return {PIKE_NOT_FOUND};
    return {PIKE_OK, sa->bytes, sa->packets, to_monotonic(sa->last_use)};
}

Result<net::SecurityPolicy> Ipsec::check_policy(const pike_policy& request) const {
    const bool out = request.direction == PIKE_DIR_OUT;
    if (request.kind != PIKE_POLICY_IPSEC || !request.tunnel_mode)
        return fail("only policies that demand ESP in tunnel mode");
    const auto source = from_pike(request.tunnel_source), destination = from_pike(request.tunnel_destination);
    const auto tunnel = check_ends(source, destination, !out, request.reqid);
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

pike_status Ipsec::add_policy(const pike_policy& request) {
    // While it moves an SA libcharon asks for a drop policy. Ours always stand behind the tunnel's.
    if (request.kind == PIKE_POLICY_DROP)
        return PIKE_OK;
    const auto policy = check_policy(request);
    if (!policy)
        return refuse("add_policy", policy.error().message());
    if (auto ok = net::replace_policy(*policy); !ok)
        return refuse("add_policy", ok.error().message());
    policy_uses_[policy_key(*policy)]++;
    return PIKE_OK;
}

pike_status Ipsec::del_policy(const pike_policy& request) {
    if (request.kind == PIKE_POLICY_DROP)
        return PIKE_OK;
    const auto policy = check_policy(request);
    if (!policy)
        return PIKE_NOT_FOUND;
    // During a rekey the new policy is added before the old one is deleted, and both are the same one to the kernel.
    const auto uses = policy_uses_.find(policy_key(*policy));
    if (uses == policy_uses_.end() || --uses->second > 0)
        return PIKE_OK;
    policy_uses_.erase(uses);
    if (auto ok = net::delete_policy(*policy); !ok && ok.error().code() != ENOENT)
        return refuse("del_policy", ok.error().message());
    return PIKE_OK;
}

IkeUsage Ipsec::query_policy(const pike_policy& request) {
    net::SecurityPolicy policy;
    const auto from = prefix_of(request.source), to = prefix_of(request.destination);
    if (!from || !to)
        return {PIKE_NOT_FOUND};
    policy.selector = {.source = *from, .destination = *to};
    policy.direction = static_cast<net::Direction>(request.direction);
    const auto use = net::query_policy(policy);
    if (!use)
        return {PIKE_NOT_FOUND};
    return {PIKE_OK, 0, 0, to_monotonic(use->last_use)};
}

// libcharon flushes when it starts: what it would flush are the SAs that carry traffic until it has its own.
pike_status Ipsec::flush_sas() { return PIKE_OK; }
pike_status Ipsec::flush_policies() { return PIKE_OK; }

pike_status Ipsec::bypass_socket(Fd socket, int family) {
    if (auto ok = net::apply_ike_socket_options(socket.get(), family, marks_.ike); !ok)
        return refuse("bypass_socket", ok.error().message());
    return PIKE_OK;
}

} // namespace penstock::core
