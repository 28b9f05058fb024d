// The SAs over time: those of a predecessor, of an IKE process that died, those that expired or that somebody took
// away.
#include "agent/core/ipsec.hpp"

#include "bpf/penstock_abi.h"

#include <algorithm>
#include <cerrno>
#include <netinet/in.h>

namespace penstock::core {
namespace {

// The peer needs a moment to move to the successor.
constexpr auto kOrphanLinger = std::chrono::seconds(5);

// A reqid that is, or once was, one of ours: lan_egress believes it.
bool is_our_reqid(std::uint32_t reqid) { return reqid >= 1 && reqid <= PENSTOCK_MAX_TUNNELS; }

} // namespace

Status Ipsec::adopt() {
    if (auto ok = adopt_sas(); !ok)
        return ok;
    if (auto ok = adopt_policies(); !ok)
        return ok;
    if (user_esp_) {
        ike_gone();
        return {};
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

// The tunnel whose SA this could be, as we would have installed it.
std::optional<std::uint32_t> Ipsec::tunnel_of(const net::SaStatus& sa) const {
    if (user_esp_ || sa.reqid > config_.tunnels.size() || !sa.tunnel_mode || sa.aead.empty())
        return std::nullopt;
    const auto& peer = config_.tunnels[sa.reqid - 1].peer;
    const bool marked = sa.output_mark == marks_.esp && sa.output_mark_mask == marks_.mask;
    if (sa.source != peer && (sa.destination != peer || !marked))
        return std::nullopt;
    return sa.reqid - 1;
}

// What is left of tunnels that the configuration no longer has would be believed where a packet comes in.
Status Ipsec::adopt_sas() {
    const auto present = net::list_sas();
    if (!present)
        return tl::unexpected(present.error());
    for (const auto& sa : *present) {
        if (sa.protocol != IPPROTO_ESP || !is_our_reqid(sa.reqid))
            continue;
        if (const auto tunnel = tunnel_of(sa)) {
            remember_orphan(sa, *tunnel);
            continue;
        }
        if (auto ok = net::delete_sa({.destination = sa.destination, .spi = sa.spi}); !ok && ok.error().code() != ESRCH)
            return ok;
        events_.add(log::Level::info, "sa_of_no_tunnel_deleted",
                    {{"spi", spi_text(sa.spi)}, {"source", sa.source.str()}, {"destination", sa.destination.str()}});
    }
    return {};
}

Status Ipsec::adopt_policies() {
    const auto present = net::list_policies();
    if (!present)
        return tl::unexpected(present.error());
    for (const auto& policy : *present) {
        if (!policy.transform || policy.priority != kTunnelPriority || !is_our_reqid(policy.transform->reqid))
            continue;
        if (!user_esp_ && check_.is_of_tunnel(policy)) {
            policies_[policy.str()] = {policy, 0};
            continue;
        }
        if (auto ok = net::delete_policy(policy); !ok && ok.error().code() != ENOENT)
            return ok;
        events_.add(log::Level::info, "policy_of_no_tunnel_deleted", {{"policy", policy.str()}});
    }
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
    for (auto& [name, policy] : policies_)
        policy.uses = 0; // they stay, for the SAs that stay
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

// What such an SA decrypts would be taken for the cloud's. SPI 0 is the kernel's own note that it asks for an SA.
void Ipsec::delete_foreign(const std::vector<net::SaStatus>& present, Repairs& repairs) {
    for (const auto& sa : present) {
        const net::SaId id{.destination = sa.destination, .spi = sa.spi};
        if (sa.protocol != IPPROTO_ESP || !is_our_reqid(sa.reqid) || sa.spi == 0 || find(id) != sas_.end() ||
            reserved_.contains(id))
            continue;
        if (auto ok = repairs.note(Layer::sas, "a foreign SA", "had reqid " + std::to_string(sa.reqid)); !ok)
            continue;
        const auto deleted = net::delete_sa(id);
        events_.add(log::Level::error, "foreign_sa_deleted",
                    {{"spi", spi_text(sa.spi)},
                     {"source", sa.source.str()},
                     {"destination", sa.destination.str()},
                     {"reqid", sa.reqid},
                     {"why", deleted ? "that reqid is penstock's; give the other daemon reqids above " +
                                           std::to_string(PENSTOCK_MAX_TUNNELS)
                                     : deleted.error().message()}});
    }
}

std::vector<net::SaId> Ipsec::lost(Repairs& repairs) {
    std::vector<net::SaId> out;
    const auto present = user_esp_ ? Result<std::vector<net::SaStatus>>() : net::list_sas();
    if (user_esp_ || !present)
        return out;
    delete_foreign(*present, repairs);
    for (std::size_t i = sas_.size(); i-- > 0;) {
        const net::SaId id{.destination = sas_[i].destination, .spi = sas_[i].spi};
        if (std::ranges::any_of(*present, [&](const net::SaStatus& sa) {
                return sa.spi == id.spi && sa.destination == id.destination && sa.protocol == IPPROTO_ESP;
            }))
            continue;
        events_.add(log::Level::error, "sa_vanished", {{"spi", spi_text(id.spi)}, {"mend", "it is negotiated anew"}});
        (void)repairs.note(Layer::sas, "an SA of tunnel " + config_.tunnels[sas_[i].tunnel].name, "was gone");
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

} // namespace penstock::core
