// The checks that need the whole policy: names that resolve, nothing twice, nothing that contradicts, rules per device.
#include "policy/reader.hpp"

#include "policy/compile.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

namespace penstock::policy {
namespace {

// The indexes of items, ordered by name, then by place.
template <class T> std::vector<std::uint32_t> order_by_name(const std::vector<T>& items) {
    std::vector<std::uint32_t> order(items.size());
    std::iota(order.begin(), order.end(), 0U);
    const auto before = [&](std::uint32_t a, std::uint32_t b) {
        return std::tie(items[a].name, items[a].at, a) < std::tie(items[b].name, items[b].at, b);
    };
    if (!std::ranges::is_sorted(order, before)) // a payload's are
        std::ranges::sort(order, before);
    return order;
}

template <class T> void reorder(std::vector<T>& items, const std::vector<std::uint32_t>& order) {
    if (std::ranges::is_sorted(order))
        return;
    std::vector<T> sorted;
    sorted.reserve(items.size());
    for (const auto index : order)
        sorted.push_back(std::move(items[index]));
    items = std::move(sorted);
}

template <class T> const T* first_twice(const std::vector<T>& sorted) {
    const auto found =
        std::ranges::adjacent_find(sorted, {}, [](const T& item) -> const std::string& { return item.name; });
    return found == sorted.end() ? nullptr : &*found;
}

template <class T> Result<std::uint32_t> index_of(const std::vector<T>& sorted, const std::string& name) {
    const auto found =
        std::ranges::lower_bound(sorted, name, {}, [](const T& item) -> const std::string& { return item.name; });
    if (found != sorted.end() && found->name == name)
        return static_cast<std::uint32_t>(found - sorted.begin());
    std::vector<std::string_view> names;
    names.reserve(sorted.size());
    for (const T& item : sorted)
        names.push_back(item.name);
    return fail(quote(name) + " is not defined" + did_you_mean(name, names));
}

} // namespace

Result<Policy> PolicyReader::finish() {
    for (const auto step : {&PolicyReader::finish_header, &PolicyReader::finish_services, &PolicyReader::finish_groups,
                            &PolicyReader::finish_devices, &PolicyReader::finish_peers})
        if (auto ok = (this->*step)(); !ok)
            return tl::unexpected(ok.error());
    if (auto ok = check_rules(); !ok)
        return tl::unexpected(ok.error());
    return std::move(policy_);
}

Status PolicyReader::finish_header() {
    if (error_names_.empty())
        return fail("no policy file is given");
    const auto missing = [&](const std::string& line) {
        return wrong(Source{0, 1},
                     "the key \"" + line.substr(0, line.find(':')) + "\" is missing; add a line such as " + line);
    };
    if (!fleet_.set)
        return missing("fleet: acme-berlin");
    if (!version_.set)
        return missing("version: 1");
    if (!expires_.set)
        return missing("expires: 2027-01-01T00:00:00Z");
    if (!gateways_.set)
        return missing("gateways: [\"gw-*\"]");
    policy_.fleet = std::move(fleet_.value);
    policy_.version = version_.value;
    policy_.expires = expires_.value;
    if (not_before_.set)
        policy_.not_before = not_before_.value;
    if (policy_.not_before && *policy_.not_before >= policy_.expires)
        return wrong(not_before_.at,
                     "not_before: " + format_time(*policy_.not_before) + " is not before it expires; make it earlier");
    policy_.gateways = std::move(gateways_.value);
    policy_.lan = lan_.value;
    const auto known_file = [&](Source at) { return at.file < policy_.files.size(); };
    const auto all_known = [&](const auto& items) {
        return std::ranges::all_of(items, known_file, [](const auto& item) { return item.at; });
    };
    if (!all_known(policy_.services) || !all_known(policy_.groups) || !all_known(policy_.devices))
        return wrong(Source{}, "an \"at\" names a file that is not in \"files\"");
    return {};
}

Status PolicyReader::finish_services() {
    const auto order = order_by_name(policy_.services);
    reorder(policy_.services, order);
    reorder(peers_, order);
    if (const Service* service = first_twice(policy_.services))
        return twice("services." + service->name + " is defined twice", service->at, service[1].at);
    return {};
}

Status PolicyReader::finish_groups() {
    const auto order = order_by_name(policy_.groups);
    reorder(policy_.groups, order);
    reorder(allows_, order);
    reorder(denies_, order);
    if (const Group* group = first_twice(policy_.groups))
        return twice("groups." + group->name + " is defined twice", group->at, group[1].at);
    const auto resolve = [&](const Group& group, const char* key, const References& names,
                             std::vector<std::uint32_t>& out) -> Status {
        for (const Reference& name : names) {
            const auto service = index_of(policy_.services, name.name);
            if (!service)
                return wrong(name.at,
                             "groups." + group.name + "." + key + ": the service " + service.error().message());
            out.push_back(*service);
        }
        std::ranges::sort(out);
        return {};
    };
    for (std::size_t i = 0; i < policy_.groups.size(); i++) {
        Group& group = policy_.groups[i];
        if (auto ok = resolve(group, "allow", allows_[i], group.allow); !ok)
            return ok;
        if (auto ok = resolve(group, "deny", denies_[i], group.deny); !ok)
            return ok;
    }
    return {};
}

Status PolicyReader::finish_devices() {
    const auto order = order_by_name(policy_.devices);
    reorder(policy_.devices, order);
    reorder(device_groups_, order);
    if (const Device* device = first_twice(policy_.devices))
        return twice("devices." + device->name + " is defined twice", device->at, device[1].at);
    for (std::size_t i = 0; i < policy_.devices.size(); i++) {
        Device& device = policy_.devices[i];
        for (const Reference& name : device_groups_[i]) {
            const auto group = index_of(policy_.groups, name.name);
            if (!group)
                return wrong(name.at, "devices." + device.name + ".group: the group " + group.error().message());
            device.groups.push_back(*group);
        }
        std::ranges::sort(device.groups);
    }
    return check_device_identities();
}

// Needs the groups and devices in their order.
Status PolicyReader::finish_peers() {
    for (std::size_t i = 0; i < policy_.services.size(); i++) {
        Service& service = policy_.services[i];
        for (const PeerName& peer : peers_[i]) {
            const bool group = peer.kind == Peer::Kind::group;
            const auto index =
                group ? index_of(policy_.groups, peer.name.name) : index_of(policy_.devices, peer.name.name);
            if (!index)
                return wrong(peer.name.at, "services." + service.name +
                                               (service.direction == Direction::to ? ".to" : ".from") + ": the " +
                                               (group ? "group " : "device ") + index.error().message());
            service.peers.push_back({peer.kind, {}, *index});
        }
        std::ranges::sort(service.peers);
    }
    return {};
}

Status PolicyReader::check_rules() const {
    std::set<std::vector<std::uint32_t>> seen;
    std::size_t total = 0;
    for (const Device& device : policy_.devices) {
        if (!seen.insert(device.groups).second)
            continue;
        const auto rules = compile_block(policy_, device.groups).rules.size();
        total += rules;
        if (rules > kMaxRulesPerDevice.value)
            return over_limit(device.at, "devices." + device.name + ": its groups compile to " + std::to_string(rules) +
                                             " rules (peers x ports of all their services), more than the " +
                                             describe(kMaxRulesPerDevice) + "; join prefixes or port ranges");
        if (total > kMaxRules.value)
            return over_limit(device.at, "devices." + device.name + ": with it the policy has more than the " +
                                             describe(kMaxRules) + "; let more devices share their groups");
    }
    return {};
}

} // namespace penstock::policy
