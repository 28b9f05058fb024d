#include "agent/core/ipsec.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <netinet/in.h>

namespace penstock::core {
namespace {

constexpr std::size_t kMaxSas = 512;

} // namespace

net::SaId Ipsec::sa_id(const pike_sa_id& id) {
    return {.destination = from_pike(id.destination), .spi = ntohl(id.spi_be)};
}

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

} // namespace penstock::core
