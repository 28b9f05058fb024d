#include "agent/core/base_policies.hpp"

#include <algorithm>
#include <cerrno>
#include <tuple>

namespace penstock::core {
namespace {

using net::Direction;
using Action = net::SecurityPolicy::Action;

// A range of our own, by which they are known again.
constexpr std::uint32_t kPassPriority = 0x7e000000;
constexpr std::uint32_t kBlockPriority = 0x7e000001;

bool is_ours(const net::SecurityPolicy& policy) {
    return !policy.transform && (policy.priority == kPassPriority || policy.priority == kBlockPriority);
}

net::SecurityPolicy make(Direction direction, const IpPrefix& source, const IpPrefix& destination, Action action,
                         int ifindex) {
    net::SecurityPolicy policy;
    policy.selector = {.source = source, .destination = destination, .ifindex = ifindex};
    policy.direction = direction;
    policy.action = action;
    policy.priority = action == Action::allow ? kPassPriority : kBlockPriority;
    return policy;
}

bool overlaps(const auto& networks, const IpPrefix& prefix) {
    return std::ranges::any_of(networks, [&](const IpPrefix& network) { return network.overlaps(prefix); });
}

// Somebody else's that lets pass as it is what we block: a packet to a tunnel's network, before our blocks are asked;
// or one that is forwarded for a device, which nothing but the default blocks.
bool opens(const net::SecurityPolicy& policy, const Config& config) {
    const auto& [source, destination] = std::tie(policy.selector.source, policy.selector.destination);
    if (policy.action != Action::allow || !(policy.foreign ? policy.in_clear : !policy.transform))
        return false;
    const bool to_remote = std::ranges::any_of(
        config.tunnels, [&](const TunnelConfig& tunnel) { return overlaps(tunnel.remote_networks, destination); });
    if (policy.direction == Direction::out)
        return to_remote && policy.priority <= kBlockPriority;
    const auto devices = config.device_networks();
    return policy.direction == Direction::forward &&
           (to_remote || overlaps(devices, source) || overlaps(devices, destination));
}

bool contains(const auto& list, const auto& value) { return std::ranges::find(list, value) != list.end(); }

Status apply_defaults(Repairs& repairs) {
    const net::DefaultPolicy defaults{.in = Action::allow, .forward = Action::block, .out = Action::allow};
    const auto current = net::get_default_policy();
    if (!current)
        return tl::unexpected(current.error());
    Repairs::Look look(repairs, Layer::defaults);
    const std::string thing = "XFRM's default policy";
    if (*current != defaults) {
        if (auto ok = look.put(thing, "was another"); !ok)
            return ok;
        if (auto ok = net::set_default_policy(defaults); !ok)
            return ok;
    }
    look.stands(thing);
    return {};
}

} // namespace

std::vector<net::SecurityPolicy> base_policies(const Config& config, int tun, const std::vector<int>& lan) {
    std::vector<net::SecurityPolicy> out;
    // From device to device: whether they may is decided by layer 1.
    const auto devices = config.device_networks();
    for (const auto& from : devices)
        for (const auto& to : devices)
            if (from.address.family == to.address.family)
                out.push_back(make(Direction::forward, from, to, Action::allow, 0));
    for (const auto& tunnel : config.tunnels) {
        for (const auto& remote : tunnel.remote_networks) {
            const IpPrefix any{IpAddress{remote.address.family, {}}, 0};
            out.push_back(make(Direction::out, any, remote, Action::block, 0));
            if (tun != 0)
                out.push_back(make(Direction::out, any, remote, Action::allow, tun));
            for (const auto& local : tunnel.local_networks) {
                if (local.address.family != remote.address.family)
                    continue;
                // Out of the LAN: whether it may leave is decided by the policies of direction out.
                out.push_back(make(Direction::forward, local, remote, Action::allow, 0));
                out.push_back(make(Direction::out, remote, local, Action::block, 0));
                for (const auto ifindex : lan)
                    out.push_back(make(Direction::out, remote, local, Action::allow, ifindex));
                // Out of the TUN, which says nothing of an SA; in kernel ESP the tunnel's own policy demands the SA.
                if (tun != 0)
                    out.push_back(make(Direction::forward, remote, local, Action::allow, 0));
            }
        }
    }
    return out;
}

Status apply_base_policies(const std::vector<net::SecurityPolicy>& wanted, const Config& config, Repairs& repairs) {
    auto first = apply_defaults(repairs);
    auto actual = net::list_policies();
    if (!actual)
        return tl::unexpected(actual.error());
    Repairs::Look look(repairs, Layer::policies);
    for (const auto& policy : wanted) {
        const auto thing = "policy " + policy.str();
        // A tunnel's policy of exactly this selector demands more than ours would.
        const bool covered = std::ranges::any_of(*actual, [&](const net::SecurityPolicy& other) {
            return other.transform && other.direction == policy.direction && other.selector == policy.selector;
        });
        if (!covered && !contains(*actual, policy)) {
            auto ok = look.put(thing);
            if (ok)
                ok = net::replace_policy(policy);
            if (!ok) {
                keep_first(first, std::move(ok));
                continue;
            }
        }
        look.stands(thing);
    }
    for (const auto& policy : *actual) {
        Status ok;
        if (is_ours(policy) ? contains(wanted, policy) : !opens(policy, config))
            continue;
        if (!is_ours(policy))
            ok = look.remove("policy " + policy.str());
        if (ok)
            ok = net::delete_policy(policy);
        if (!ok && ok.error().code() != ENOENT)
            keep_first(first, std::move(ok));
    }
    return first;
}

Status remove_base_policies() {
    if (auto ok = net::set_default_policy({}); !ok)
        return ok;
    auto actual = net::list_policies();
    if (!actual)
        return tl::unexpected(actual.error());
    for (const auto& policy : *actual)
        if (is_ours(policy))
            if (auto ok = net::delete_policy(policy); !ok && ok.error().code() != ENOENT)
                return ok;
    return {};
}

} // namespace penstock::core
