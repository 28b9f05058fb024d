// The rest of what penstock-ike asks for: SPIs, policies, and how much they were used.
#include "agent/core/ipsec.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <ctime>

namespace penstock::core {
namespace {

constexpr std::size_t kMaxReserved = 256;

// Wall clock, as the kernel gives it, to the monotonic one that libcharon compares with.
std::int64_t to_monotonic(std::uint64_t wall) {
    if (wall == 0)
        return 0;
    timespec monotonic{}, real{};
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_REALTIME, &real);
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(wall) - real.tv_sec + monotonic.tv_sec);
}

} // namespace

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
    const auto key = policy->str();
    const auto known = policies_.find(key);
    const unsigned uses = known != policies_.end() ? known->second.uses : 0;
    if (auto ok = net::replace_policy(*policy); !ok)
        return refuse("add_policy", ok.error().message());
    policies_.insert_or_assign(key, Policy{*policy, uses + 1});
    return PIKE_OK;
}

pike_status Ipsec::del_policy(const pike_policy& request) {
    if (request.kind == PIKE_POLICY_DROP)
        return PIKE_OK;
    const auto policy = check_.policy(request);
    if (!policy)
        return PIKE_NOT_FOUND;
    // During a rekey the new policy is added before the old one is deleted, and both are the same one to the kernel.
    const auto known = policies_.find(policy->str());
    if (known == policies_.end() || known->second.uses == 0)
        return PIKE_OK;
    known->second.uses--;
    if (known->second.uses > 0)
        return PIKE_OK;
    policies_.erase(known);
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

void Ipsec::mend(Repairs& repairs) {
    if (policies_.empty())
        return;
    const auto actual = net::list_policies();
    if (!actual)
        return; // the guard, which reads the same list, says so
    Repairs::Look look(repairs, Layer::tunnel_policies);
    for (const auto& [name, policy] : policies_) {
        const auto thing = "policy " + name;
        if (std::ranges::find(*actual, policy.policy) == actual->end()) {
            auto ok = look.put(thing);
            if (ok)
                ok = net::replace_policy(policy.policy);
            if (!ok) {
                events_.add(log::Level::error, "policy_lost", {{"policy", name}, {"why", ok.error().message()}});
                continue;
            }
        }
        look.stands(thing);
    }
}

} // namespace penstock::core
