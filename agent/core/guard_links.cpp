// The gate's hooks: which interface is what, and that ours are the first programs on each of them.
#include "agent/core/guard.hpp"

#include "agent/net/filters.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/if.h>
#include <linux/if_arp.h>

namespace penstock::core {
namespace {

using datapath::Hook;
using State = datapath::Hooks::State;

// Bytes before the IP header; nullopt: we do not know how its frames begin, and nothing passes.
std::optional<unsigned> l2_length(const net::Link& link) {
    switch (link.arphrd) {
    case ARPHRD_ETHER:
        return 14;
    case ARPHRD_NONE:
    case ARPHRD_RAWIP:
    case ARPHRD_PPP:
        return 0;
    default:
        return std::nullopt;
    }
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
    return std::ranges::find(list, value) != list.end();
}

const char* role_name(penstock_link_role role) {
    switch (role) {
    case PENSTOCK_LINK_LAN:
        return "lan";
    case PENSTOCK_LINK_UPLINK:
        return "uplink";
    case PENSTOCK_LINK_TUNNEL:
        return "tunnel";
    case PENSTOCK_LINK_CARRIER:
        return "carrier";
    case PENSTOCK_LINK_OTHER:
        break;
    }
    return "other";
}

} // namespace

bool Guard::is_lan(const std::string& name) const { return contains(config_.lan, name); }
bool Guard::is_uplink(const std::string& name) const { return contains(config_.uplink, name); }

bool Guard::is_tunnel(const net::Link& link) const {
    return tun_ != 0 && link.index == tun_ && link.kind == "tun" && link.arphrd == ARPHRD_NONE;
}

const net::Link* Guard::tunnel_link() const {
    const auto* link = network_.find(tun_);
    return link != nullptr && is_tunnel(*link) ? link : nullptr;
}

// With clsact the kernel keeps filters of one priority in a list, the newest first.
State Guard::hook_state(Hook hook, int ifindex) const {
    const auto state = hooks_.state(programs_, hook, ifindex);
    if (state != State::first || hooks_.uses_tcx())
        return state;
    const auto filter = net::first_filter(ifindex, is_ingress(hook));
    const bool ours = filter && *filter && hooks_.is_our_filter((*filter)->priority, (*filter)->handle);
    return ours ? State::first : State::behind;
}

Status Guard::keep_hook(const net::Link& link, Hook hook, Repairs::Look& look) {
    const auto thing =
        std::string(hook_name(hook)) + " of " + link.name + " (interface " + std::to_string(link.index) + ")";
    if (replace_programs_)
        if (auto ok = hooks_.attach(programs_, hook, link.index); !ok)
            return ok;
    auto state = hook_state(hook, link.index);
    if (state == State::absent || state == State::unpinned) {
        if (auto ok = look.put(thing, state == State::absent ? "was gone" : "had lost its pin"); !ok)
            return ok;
        if (auto ok = hooks_.attach(programs_, hook, link.index); !ok)
            return ok;
        events_.add(log::Level::info, "hook_attached", {{"interface", link.name}, {"hook", hook_name(hook)}});
        state = hook_state(hook, link.index);
    }
    if (state == State::behind) {
        if (auto ok = look.put(thing, "stood behind somebody else's program"); !ok)
            return ok;
        if (auto ok = hooks_.move_first(programs_, hook, link.index); !ok)
            return ok;
        events_.add(log::Level::warning, "hook_moved_first", {{"interface", link.name}, {"hook", hook_name(hook)}});
        state = hook_state(hook, link.index);
    }
    if (state != State::first)
        return fail(thing + " is not what the kernel runs first");
    look.stands(thing);
    return {};
}

// "on", or why not. No layer of the gate: what goes wrong here is shown, and nothing waits for it. A driver that
// refused is not asked again: some take the link down to find out.
std::string Guard::keep_early_drop(const net::Link& link) {
    // What rtnetlink gives a kind to (veth, bridge, bond, VLAN) is no hardware; a veth would even lose GSO by it.
    const bool wanted = config_.early_drop == EarlyDropMode::on ||
                        (config_.early_drop == EarlyDropMode::automatic && link.kind.empty());
    if (!wanted) {
        const auto gone = early_drop_.detach(link.index);
        return !gone                                      ? gone.error().message()
               : config_.early_drop == EarlyDropMode::off ? "off by the configuration"
                                                          : "off: a " + link.kind + " gains nothing by it";
    }
    if (const auto refused = no_early_drop_.find(link.index); refused != no_early_drop_.end())
        return refused->second;
    if (early_drop_.attached(link.index))
        return "on";
    const auto attached = early_drop_.attach(link.index);
    if (!attached) {
        events_.add(log::Level::warning, "early_drop_refused",
                    {{"interface", link.name}, {"why", attached.error().message()}});
        return no_early_drop_[link.index] = attached.error().message();
    }
    events_.add(log::Level::info, "early_drop_attached", {{"interface", link.name}});
    return "on";
}

// A port of a bridge that is a LAN: what is a device's is judged where the bridge hands it to the gateway.
bool Guard::is_lan_port(const net::Link& link) const {
    const auto* master = network_.find(link.master);
    return master != nullptr && is_lan(master->name) && !is_lan(link.name) && !is_uplink(link.name);
}

// LAN ports get the policy, everything else the default deny; only loopback and the TUN of our own are left alone.
Status Guard::guard_link(const net::Link& link, Interface& shown, Repairs::Look& look) {
    const auto l2 = l2_length(link);
    auto role = PENSTOCK_LINK_OTHER;
    if (is_lan(link.name) && l2 == 14U)
        role = PENSTOCK_LINK_LAN;
    else if (is_uplink(link.name) && l2)
        role = PENSTOCK_LINK_UPLINK;
    else if (is_tunnel(link))
        role = PENSTOCK_LINK_TUNNEL;
    const auto found = carriers_.links.find(link.index);
    const auto carrier = found != carriers_.links.end() && l2 == 14U ? found->second : Carrier{};
    if (!carrier.uplinks.empty() && role == PENSTOCK_LINK_OTHER)
        role = PENSTOCK_LINK_CARRIER;
    shown = {.name = link.name,
             .role = role_name(role),
             .guarded = role != PENSTOCK_LINK_TUNNEL,
             .carries = {carrier.uplinks.begin(), carrier.uplinks.end()}};
    if (role != PENSTOCK_LINK_LAN) // it may have been one
        if (auto ok = early_drop_.detach(link.index); !ok)
            return ok;
    if (carrier.uplinks.empty() && is_lan_port(link)) {
        shown.role = "lan port";
        // When programs are replaced, it may still have one of before.
        for (const auto hook : datapath::kHooks)
            if (replace_programs_ || hooks_.state(programs_, hook, link.index) != State::absent)
                if (auto ok = hooks_.detach(hook, link.index); !ok)
                    return ok;
        return gate_.set_link(link.index, PENSTOCK_LINK_LAN, l2.value_or(0)); // for the witness
    }
    // The program first: with the role alone unknown it passes nothing.
    const auto hooks = role == PENSTOCK_LINK_LAN      ? std::vector{Hook::lan_ingress, Hook::lan_egress}
                       : role == PENSTOCK_LINK_TUNNEL ? std::vector<Hook>{}
                                                      : std::vector{Hook::uplink_egress, Hook::uplink_ingress};
    // A role may change: the TUN was seen before its owner named it.
    if (replace_programs_ || gate_.role(link.index) != role)
        for (const auto hook : datapath::kHooks)
            if (std::ranges::find(hooks, hook) == hooks.end())
                if (auto ok = hooks_.detach(hook, link.index); !ok)
                    return ok;
    for (const auto hook : hooks)
        if (auto ok = keep_hook(link, hook, look); !ok)
            return ok;
    if (auto ok = gate_.set_link(link.index, role, l2.value_or(0), carrier.flags); !ok)
        return ok;
    if (role == PENSTOCK_LINK_LAN)
        shown.early_drop = keep_early_drop(link);
    if (is_lan(link.name) && role != PENSTOCK_LINK_LAN)
        return fail("is a LAN interface of the configuration, but not Ethernet; nothing passes it");
    if (is_uplink(link.name) && role != PENSTOCK_LINK_UPLINK)
        return fail("is an uplink of the configuration, but its frames (ARPHRD " + std::to_string(link.arphrd) +
                    ") are not understood; nothing passes it");
    return {};
}

Status Guard::attach_all() {
    Status first_problem;
    Repairs::Look look(repairs_, Layer::hooks);
    std::vector<Interface> shown;
    std::set<int> guarded;
    std::vector<int> present;
    for (const auto& link : network_.links) {
        present.push_back(link.index);
        if (link.flags & IFF_LOOPBACK)
            continue;
        Interface one;
        auto ok = guard_link(link, one, look);
        // An interface that went away in the middle needs no guard.
        if (!ok && ok.error().code() != ENODEV) {
            one.guarded = false;
            keep_first(first_problem, fail(link.name, std::move(ok.error())));
        }
        guarded.insert(link.index);
        shown.push_back(std::move(one));
    }
    for (const auto* list : {&config_.lan, &config_.uplink})
        for (const auto& name : *list)
            if (network_.find(name) == nullptr)
                shown.push_back({.name = name, .role = list == &config_.lan ? "lan" : "uplink", .guarded = false});
    gate_.keep_links(guarded);
    hooks_.forget_absent(present);
    std::erase_if(no_early_drop_,
                  [&](const auto& one) { return std::ranges::find(present, one.first) == present.end(); });
    replace_programs_ = replace_programs_ && !first_problem;
    interfaces_ = std::move(shown);
    return first_problem;
}

Status Guard::keep_pins() {
    const auto lost = programs_.lost_pins();
    if (!lost)
        return tl::unexpected(lost.error());
    Status first;
    Repairs::Look look(repairs_, Layer::pins);
    for (const auto& name : programs_.map_names()) {
        const auto thing = "the pin of map " + name;
        if (contains(*lost, name)) {
            if (auto ok = look.put(thing); !ok) {
                keep_first(first, std::move(ok));
                continue;
            }
            if (auto ok = programs_.pin_map(name); !ok) {
                keep_first(first, std::move(ok));
                continue;
            }
        }
        look.stands(thing);
    }
    return first;
}

} // namespace penstock::core
