#include "policy/warnings.hpp"

#include "policy/rights.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <sys/socket.h>

namespace penstock::policy {
namespace {

class Finder {
public:
    explicit Finder(const Policy& policy) : policy_(policy) {}

    void unused();
    void services_that_cannot_match();
    void prefixes_over_devices();
    void shadowed();
    [[nodiscard]] std::vector<std::string> take();

private:
    void say(Source at, const std::string& what) { found_.emplace(at, what); }
    void shadowed_in(const std::vector<std::uint32_t>& groups);

    const Policy& policy_;
    std::set<std::pair<Source, std::string>> found_;
    // (group, service) that it allows: seen somewhere with, and without, an effect.
    std::map<std::pair<std::uint32_t, std::uint32_t>, bool> denied_everywhere_, require_in_vain_;
};

void Finder::unused() {
    std::vector<bool> service_used(policy_.services.size()), group_used(policy_.groups.size());
    for (const Device& device : policy_.devices)
        for (const auto group : device.groups)
            group_used[group] = true;
    for (std::size_t i = 0; i < policy_.groups.size(); i++) {
        const Group& group = policy_.groups[i];
        for (const auto* list : {&group.allow, &group.deny})
            for (const auto service : *list)
                service_used[service] = true;
        if (!group_used[i])
            say(group.at, "groups." + group.name + ": no device is in it");
    }
    for (std::size_t i = 0; i < policy_.services.size(); i++) {
        const Service& service = policy_.services[i];
        if (!service_used[i])
            say(service.at, "services." + service.name + ": no group allows or denies it");
        for (const Peer& peer : service.peers)
            if (peer.kind == Peer::Kind::group && !group_used[peer.index])
                say(service.at, "services." + service.name + ": " + policy_.str(peer) + " means nobody");
    }
}

// Ports whose protocol no peer of the service speaks.
void Finder::services_that_cannot_match() {
    for (const Service& service : policy_.services) {
        bool v4 = false, v6 = false;
        for (const Peer& peer : service.peers) {
            v4 = v4 || peer.kind != Peer::Kind::prefix || peer.prefix.address.family == AF_INET;
            v6 = v6 || peer.kind != Peer::Kind::prefix || peer.prefix.address.family == AF_INET6;
        }
        for (const PortRange& ports : service.ports)
            if ((ports.proto == Proto::icmp && !v4) || (ports.proto == Proto::icmpv6 && !v6))
                say(service.at, "services." + service.name + ": " + ports.str() + " can never match: no prefix is " +
                                    (v4 ? "IPv6" : "IPv4"));
    }
}

void Finder::prefixes_over_devices() {
    for (const Service& service : policy_.services)
        for (const Peer& peer : service.peers) {
            if (peer.kind != Peer::Kind::prefix)
                continue;
            const Device* inside = nullptr;
            for (const Device& device : policy_.devices)
                for (const IpAddress& address : device.addresses)
                    if (inside == nullptr && peer.prefix.length > 8 && peer.prefix.contains(address))
                        inside = &device;
            if (inside != nullptr)
                say(service.at, "services." + service.name + ": " + peer.prefix.str() + " holds devices." +
                                    inside->name + ", but a prefix never means a device; write device: or group:");
        }
}

void Finder::shadowed() {
    std::set<std::vector<std::uint32_t>> seen;
    for (const Device& device : policy_.devices)
        if (seen.insert(device.groups).second)
            shadowed_in(device.groups);
    for (const auto& [key, everywhere] : denied_everywhere_) {
        const Group& group = policy_.groups[key.first];
        if (everywhere)
            say(group.at, "groups." + group.name + ": allowing " + policy_.services[key.second].name +
                              " has no effect: all of it is denied, here or by another group of its devices");
    }
    for (const auto& [key, everywhere] : require_in_vain_) {
        const Group& group = policy_.groups[key.first];
        const Service& service = policy_.services[key.second];
        if (everywhere)
            say(group.at, "groups." + group.name + ": services." + service.name + " requires " +
                              std::string(require_name(service.require)) +
                              " in vain: another service allows the same without");
    }
}

void Finder::shadowed_in(const std::vector<std::uint32_t>& groups) {
    const auto rights = rights_of(policy_, groups);
    std::map<std::pair<std::uint32_t, std::uint32_t>, bool> denied, in_vain;
    for (const Right& right : rights) {
        if (!right.allow)
            continue;
        const auto covered = [&](bool allow) {
            return std::ranges::any_of(rights, [&](const Right& other) {
                return other.allow == allow && other.require == Require::none && other.covers(right);
            });
        };
        const std::pair key(right.group, right.service);
        const auto note = [&](auto& map, bool value) {
            const auto [at, is_new] = map.try_emplace(key, value);
            at->second = at->second && value;
        };
        note(denied, covered(false));
        if (right.require != Require::none)
            note(in_vain, covered(true));
    }
    const auto merge = [](const auto& from, auto& into) {
        for (const auto& [key, value] : from) {
            const auto [at, is_new] = into.try_emplace(key, value);
            at->second = at->second && value;
        }
    };
    merge(denied, denied_everywhere_);
    merge(in_vain, require_in_vain_);
}

std::vector<std::string> Finder::take() {
    std::vector<std::string> out;
    out.reserve(found_.size());
    for (const auto& [at, what] : found_)
        out.push_back(policy_.cite(at) + ": " + what);
    return out;
}

} // namespace

std::vector<std::string> warnings(const Policy& policy, Time now) {
    Finder finder(policy);
    finder.unused();
    finder.services_that_cannot_match();
    finder.prefixes_over_devices();
    finder.shadowed();
    auto out = finder.take();
    if (policy.expires <= now)
        out.insert(out.begin(), "expires: " + format_time(policy.expires) + " is over; no gateway will take this");
    return out;
}

} // namespace penstock::policy
