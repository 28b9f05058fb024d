#include "agent/core/ipsec.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <ctime>
#include <netinet/in.h>

namespace penstock::core {
namespace {

using Clock = std::chrono::steady_clock;

// A packet encrypted just before its SA went is still on its way to the uplink's hook.
constexpr auto kLinger = std::chrono::seconds(2);
// The peer needs a moment to move to the successor.
constexpr auto kOrphanLinger = std::chrono::seconds(5);
constexpr std::size_t kMaxReserved = 256;
constexpr std::size_t kMaxSas = 512;

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
    : config_(config), marks_(marks), events_(events), gate_(gate), changed_(std::move(changed)), check_(config) {}

pike_status Ipsec::refuse(std::string_view what, const std::string& why) {
    // A hijacked process may ask as fast as it can: the same refusal is told once a second.
    const auto now = Clock::now();
    if (why != last_refusal_ || now - last_refusal_time_ >= std::chrono::seconds(1)) {
        events_.add(log::Level::error, "ike_request_refused", {{"request", what}, {"why", why}});
        last_refusal_ = why;
        last_refusal_time_ = now;
    }
    return PIKE_FAILED;
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
                 {"spi", spi_text(sa.spi)},
                 {"cipher", sa.cipher},
                 {"source", sa.source.str()},
                 {"destination", sa.destination.str()},
                 {"esp", user_esp_ ? "user" : "kernel"}});
    sas_.push_back(std::move(sa));
}

// The gate knows the SPI before the SA exists: an encrypted packet never meets a gate that does not know it.
pike_status Ipsec::add_sa(const pike_add_sa& request) {
    const auto tunnel = check_.sa(request);
    if (!tunnel)
        return refuse("add_sa", tunnel.error().message());
    if (forbidden_.contains(*tunnel))
        return refuse("add_sa", "tunnel " + config_.tunnels[*tunnel].name + " was taken down by the operator");
    const auto id = sa_id(request.id);
    if (find(id) != sas_.end())
        return refuse("add_sa", "SPI " + spi_text(id.spi) + " is in use");
    if (sas_.size() >= kMaxSas)
        return refuse("add_sa", "more SAs than any tunnel needs");
    reserved_.erase(id);
    if (!request.inbound)
        if (auto ok = tell_gate(id, *tunnel); !ok)
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

std::vector<InstalledSa>::iterator Ipsec::find(const net::SaId& id) {
    return std::ranges::find_if(
        sas_, [&](const InstalledSa& sa) { return sa.spi == id.spi && sa.destination == id.destination; });
}

// An SPI that was about to leave the gate may come back: an address that changed twice.
Status Ipsec::tell_gate(const net::SaId& id, std::uint32_t tunnel) {
    std::erase_if(leaving_, [&](const auto& entry) { return entry.second == id; });
    return gate_.add_sa(id.destination, id.spi, tunnel);
}

pike_status Ipsec::approve_sa(const pike_add_sa& request) {
    return user_esp_ ? add_sa(request) : refuse("approve_sa", "ESP is the kernel's here");
}

pike_status Ipsec::update_sa(const pike_update_sa& request) {
    const auto id = sa_id(request.id);
    const auto source = from_pike(request.new_source), destination = from_pike(request.new_destination);
    const auto found = find(id);
    if (found == sas_.end())
        return PIKE_NOT_FOUND;
    if (auto ok = check_.ends(source, destination, found->inbound, found->tunnel + 1); !ok)
        return refuse("update_sa", ok.error().message());
    if (!found->inbound)
        if (auto ok = tell_gate({.destination = destination, .spi = id.spi}, found->tunnel); !ok)
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
    if (const auto found = find(id); found != sas_.end()) {
        forget(static_cast<std::size_t>(found - sas_.begin()));
        return PIKE_OK;
    }
    // An SPI that was only reserved. Other SAs of this machine are not penstock-ike's to delete.
    if (reserved_.erase(id) != 0)
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
            events_.add(log::Level::error, "sa_delete_failed",
                        {{"spi", spi_text(sa.spi)}, {"why", ok.error().message()}});
    if (!sa.inbound)
        leaving_.emplace_back(Clock::now() + kLinger, id);
    events_.add(log::Level::info, "sa_removed",
                {{"tunnel", config_.tunnels[sa.tunnel].name},
                 {"direction", sa.inbound ? "in" : "out"},
                 {"spi", spi_text(sa.spi)}});
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
    // The gate must know exactly the SAs there are, and the peers of today.
    for (const auto& sa : gate_.sas()) {
        const bool peer = sa.spi == 0 && std::ranges::any_of(config_.tunnels, [&](const TunnelConfig& tunnel) {
                              return tunnel.peer == sa.destination;
                          });
        const auto known = find({.destination = sa.destination, .spi = sa.spi});
        if (!peer && (known == sas_.end() || known->inbound))
            leaving_.emplace_back(Clock::now(), net::SaId{.destination = sa.destination, .spi = sa.spi});
    }
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
                    .cipher = aead_name(sa.aead),
                    .since = Clock::now(),
                    .orphan = true});
    events_.add(log::Level::info, "sa_adopted",
                {{"tunnel", config_.tunnels[tunnel].name},
                 {"direction", sas_.back().inbound ? "in" : "out"},
                 {"spi", spi_text(sa.spi)}});
}

void Ipsec::ike_gone() {
    policy_uses_.clear();
    reserved_.clear();
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
    if (const auto found = find(id); found != sas_.end())
        forget(static_cast<std::size_t>(found - sas_.begin()));
}

std::vector<net::SaId> Ipsec::lost() {
    std::vector<net::SaId> out;
    const auto present = user_esp_ || sas_.empty() ? Result<std::vector<net::SaStatus>>() : net::list_sas();
    if (user_esp_ || sas_.empty() || !present)
        return out;
    for (std::size_t i = sas_.size(); i-- > 0;) {
        const net::SaId id{.destination = sas_[i].destination, .spi = sas_[i].spi};
        if (std::ranges::any_of(*present, [&](const net::SaStatus& sa) {
                return sa.spi == id.spi && sa.destination == id.destination && sa.protocol == IPPROTO_ESP;
            }))
            continue;
        events_.add(log::Level::error, "sa_vanished", {{"spi", spi_text(id.spi)}, {"mend", "it is negotiated anew"}});
        out.push_back(id);
        forget(i);
    }
    return out;
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
    // The kernel lets a reserved SPI go by itself after a while.
    if (reserved_.size() >= kMaxReserved)
        reserved_.clear();
    reserved_.insert({.destination = destination, .spi = *spi});
    return {PIKE_OK, htonl(*spi)};
}

IkeUsage Ipsec::query_sa(const pike_sa_id& id) {
    const auto sa = net::query_sa(sa_id(id));
    if (!sa)
        return {PIKE_NOT_FOUND};
    return {PIKE_OK, sa->bytes, sa->packets, to_monotonic(sa->last_use)};
}

pike_status Ipsec::add_policy(const pike_policy& request) {
    // While it moves an SA libcharon asks for a drop policy. Ours always stand behind the tunnel's.
    if (request.kind == PIKE_POLICY_DROP)
        return PIKE_OK;
    const auto policy = check_.policy(request);
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
    const auto policy = check_.policy(request);
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
