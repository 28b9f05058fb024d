#include "policy/diff.hpp"

#include "policy/compile.hpp"
#include "policy/read_values.hpp"
#include "policy/rights.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace penstock::policy {
namespace {

using Groups = std::vector<std::uint32_t>;
using Lines = std::vector<std::string>;

void add_once(Lines& lines, std::string line) {
    if (std::ranges::find(lines, line) == lines.end())
        lines.push_back(std::move(line));
}

// Does one of them say at least as much, and ask no more?
bool said_by(const std::vector<Right>& rights, const Right& wanted) {
    return std::ranges::any_of(rights, [&](const Right& right) {
        return right.allow == wanted.allow && right.covers(wanted) &&
               (right.require == Require::none || right.require == wanted.require);
    });
}

// The rights of `here` that `there` does not have.
std::vector<Right> missing(const std::vector<Right>& here, const std::vector<Right>& there) {
    std::vector<Right> out;
    for (const Right& right : here)
        if (!said_by(there, right))
            out.push_back(right);
    return out;
}

// What is left of a right that was cut into pieces is said too, so that it is not taken for lost.
void add_pieces(const std::vector<Right>& lost, const std::vector<Right>& after, std::vector<Right>& gained) {
    const auto same = [](const std::vector<Right>& rights, const Right& right) {
        return std::ranges::any_of(rights, [&](const Right& other) { return other.same_as(right); });
    };
    for (const Right& right : after)
        if (!same(gained, right) &&
            std::ranges::any_of(lost, [&](const Right& l) { return l.allow == right.allow && l.overlaps(right); }))
            gained.push_back(right);
}

// A right that a deny takes back is none, and the deny says so itself.
void leave_out_denied(std::vector<Right>& rights, const std::vector<Right>& beside) {
    std::erase_if(rights, [&](const Right& right) {
        return right.allow &&
               std::ranges::any_of(beside, [&](const Right& one) { return !one.allow && one.covers(right); });
    });
}

std::string undone(const Right& right) {
    const std::string text = right.str();
    return right.allow ? "may no longer" + text.substr(std::string_view("may").size())
                       : "is no longer denied: " + text.substr(std::string_view("must not ").size());
}

std::string rate_text(std::uint64_t rate) { return rate == 0 ? "unlimited" : byte_rate_text(rate); }

void compare_limits(const Block& before, const Block& after, Change& out) {
    if (before.rate != after.rate)
        out.other.push_back("rate " + rate_text(before.rate) + " becomes " + rate_text(after.rate));
    if (before.packet_rate != after.packet_rate) {
        const auto text = [](std::uint64_t rate) { return rate == 0 ? "unlimited" : std::to_string(rate); };
        out.other.push_back("packet rate " + text(before.packet_rate) + " becomes " + text(after.packet_rate));
    }
    const auto service = [&](const char* name, bool was, bool is) {
        if (was != is)
            (is ? out.gains : out.losses)
                .push_back((is ? "may use " : "may no longer use ") + std::string(name) + " of the gateway");
    };
    service("ARP and neighbour discovery", before.lan.arp_nd, after.lan.arp_nd);
    service("DHCP", before.lan.dhcp, after.lan.dhcp);
    service("DNS", before.lan.dns, after.lan.dns);
    service("NTP", before.lan.ntp, after.lan.ntp);
}

// What being in these groups means now, against what those meant before.
Change compare_groups(const Policy& before, const Groups* was, const Policy& after, const Groups& is) {
    Change out;
    const auto had = was != nullptr ? rights_of(before, *was) : std::vector<Right>();
    const auto has = rights_of(after, is);
    auto lost = missing(had, has);
    auto gained = missing(has, had);
    add_pieces(lost, has, gained);
    leave_out_denied(gained, has);
    leave_out_denied(lost, had);
    leave_out_denied(lost, has);
    for (const Right& right : gained)
        add_once(right.allow ? out.gains : out.losses, right.str());
    for (const Right& right : lost)
        add_once(right.allow ? out.losses : out.gains, undone(right));
    if (was != nullptr)
        compare_limits(compile_block(before, *was), compile_block(after, is), out);
    std::ranges::sort(out.gains);
    std::ranges::sort(out.losses);
    return out;
}

std::string addresses_of(const Device& device) {
    std::string out = device.learns() ? "learnt ones" : "";
    for (const IpAddress& address : device.addresses)
        out += (out.empty() ? "" : ", ") + address.str();
    return out;
}

void compare_identity(const Device& before, const Device& after, Change& out) {
    if (before.mac != after.mac)
        out.other.push_back("MAC " + before.mac.str() + " becomes " + after.mac.str());
    if (before.addresses != after.addresses)
        out.other.push_back("addresses " + addresses_of(before) + " become " + addresses_of(after));
    const auto lan = [](const Device& device) { return device.interface.empty() ? "any LAN" : device.interface; };
    if (before.interface != after.interface)
        out.other.push_back(std::string(lan(before)) + " becomes " + lan(after));
}

void compare_header(const Policy& before, const Policy& after, Lines& out) {
    const auto say = [&](const char* what, const std::string& was, const std::string& is) {
        if (was != is)
            out.push_back(std::string(what) + " " + was + " becomes " + is);
    };
    const auto list = [](const Lines& items) {
        std::string text;
        for (const auto& item : items)
            text += (text.empty() ? "" : ", ") + item;
        return text;
    };
    say("fleet", before.fleet, after.fleet);
    say("version", std::to_string(before.version), std::to_string(after.version));
    const auto begin = [](const Policy& policy) {
        return policy.not_before ? format_time(*policy.not_before) : std::string("at once");
    };
    say("validity from", begin(before), begin(after));
    say("expiry", format_time(before.expires), format_time(after.expires));
    say("gateways", list(before.gateways), list(after.gateways));
}

// Whoever names such a group means other devices now.
void compare_members(const Policy& before, const Policy& after, Lines& out) {
    const auto members = [](const Policy& policy) {
        std::map<std::string, Lines> named;
        for (const Service& service : policy.services)
            for (const Peer& peer : service.peers)
                if (peer.kind == Peer::Kind::group)
                    named[policy.groups[peer.index].name];
        for (const Device& device : policy.devices)
            for (const auto group : device.groups)
                if (const auto found = named.find(policy.groups[group].name); found != named.end())
                    found->second.push_back(device.name);
        return named;
    };
    const auto was = members(before);
    for (const auto& [group, is] : members(after)) {
        const auto old = was.find(group);
        if (old == was.end() || old->second == is)
            continue;
        Lines joined, left;
        std::ranges::set_difference(is, old->second, std::back_inserter(joined));
        std::ranges::set_difference(old->second, is, std::back_inserter(left));
        for (const auto& [names, verb] : {std::pair(&joined, " now means also "), {&left, " no longer means "}})
            for (const auto& name : *names)
                out.push_back("group:" + group + verb + name);
    }
}

std::string shortened(const Lines& names) {
    constexpr std::size_t kShown = 5;
    std::string out;
    for (std::size_t i = 0; i < names.size() && i < kShown; i++)
        out += (i == 0 ? "" : ", ") + names[i];
    return names.size() > kShown ? out + " and " + std::to_string(names.size() - kShown) + " more" : out;
}

} // namespace

Difference compare(const Policy& before, const Policy& after) {
    Difference out;
    compare_header(before, after, out.header);
    compare_members(before, after, out.header);
    for (const Device& device : before.devices)
        if (after.find_device(device.name) == nullptr)
            out.removed.push_back(device.name);

    // Devices whose groups were and are the same share one comparison.
    std::map<std::pair<Groups, Groups>, Change> by_groups;
    std::map<std::tuple<Lines, Lines, Lines>, std::size_t> alike; // places in out.changes
    for (const Device& device : after.devices) {
        const Device* was = before.find_device(device.name);
        if (was == nullptr)
            out.added.push_back(device.name);
        const std::pair key(was != nullptr ? was->groups : Groups(), device.groups);
        auto known = by_groups.find(key);
        if (known == by_groups.end())
            known =
                by_groups
                    .emplace(key, compare_groups(before, was != nullptr ? &was->groups : nullptr, after, device.groups))
                    .first;
        Change change = known->second;
        if (was != nullptr)
            compare_identity(*was, device, change);
        if (change == Change{})
            continue;
        const auto [at, is_new] =
            alike.try_emplace(std::tuple(change.gains, change.losses, change.other), out.changes.size());
        if (is_new)
            out.changes.push_back(std::move(change));
        out.changes[at->second].devices.push_back(device.name);
    }
    return out;
}

Lines in_lines(const Difference& difference) {
    Lines lines = difference.header;
    if (!difference.added.empty())
        lines.push_back("new: " + shortened(difference.added));
    if (!difference.removed.empty())
        lines.push_back("gone, and lose everything: " + shortened(difference.removed));
    for (const Change& change : difference.changes) {
        lines.push_back(shortened(change.devices) + ":");
        for (const auto& line : change.gains)
            lines.push_back("  + " + line);
        for (const auto& line : change.losses)
            lines.push_back("  - " + line);
        for (const auto& line : change.other)
            lines.push_back("  ~ " + line);
    }
    return lines;
}

std::string in_words(const Difference& difference) {
    if (difference.empty())
        return "no difference";
    std::string out;
    for (const auto& line : in_lines(difference))
        out += (out.empty() ? "" : "\n") + line;
    return out;
}

} // namespace penstock::policy
