// The checks that need the whole policy: names that resolve, nothing twice, nothing that contradicts, rules per device.
#include "policy/reader.hpp"

#include "policy/compile.hpp"
#include "policy/read_values.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>

namespace penstock::policy {
namespace {

// The indexes of items, ordered by name, then by place.
template <class T> std::vector<std::uint32_t> order_by_name(const std::vector<T>& items) {
    std::vector<std::uint32_t> order(items.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) {
        return std::tie(items[a].name, items[a].at, a) < std::tie(items[b].name, items[b].at, b);
    });
    return order;
}

template <class T> void reorder(std::vector<T>& items, const std::vector<std::uint32_t>& order) {
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
                            &PolicyReader::finish_devices})
        if (auto ok = (this->*step)(); !ok)
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
    policy_.gateways = std::move(gateways_.value);
    const auto known_file = [&](Source at) { return at.file < policy_.files.size(); };
    const auto all_known = [&](const auto& items) {
        return std::ranges::all_of(items, known_file, [](const auto& item) { return item.at; });
    };
    if (!all_known(policy_.services) || !all_known(policy_.groups) || !all_known(policy_.devices))
        return wrong(Source{}, "an \"at\" names a file that is not in \"files\"");
    return {};
}

Status PolicyReader::finish_services() {
    reorder(policy_.services, order_by_name(policy_.services));
    if (const Service* service = first_twice(policy_.services))
        return twice("services." + service->name + " is defined twice", service->at, service[1].at);
    return {};
}

Status PolicyReader::finish_groups() {
    const auto order = order_by_name(policy_.groups);
    reorder(policy_.groups, order);
    reorder(allows_, order);
    if (const Group* group = first_twice(policy_.groups))
        return twice("groups." + group->name + " is defined twice", group->at, group[1].at);
    for (std::size_t i = 0; i < policy_.groups.size(); i++) {
        Group& group = policy_.groups[i];
        for (const Reference& allow : allows_[i]) {
            const auto service = index_of(policy_.services, allow.name);
            if (!service)
                return wrong(allow.at, "groups." + group.name + ".allow: the service " + service.error().message());
            group.allow.push_back(*service);
        }
        std::ranges::sort(group.allow);
        const auto rules = compile_group(policy_, group).size();
        if (rules > kMaxRulesPerDevice.value)
            return wrong(group.at, "groups." + group.name + " compiles to " + std::to_string(rules) +
                                       " rules (prefixes x ports of all its services), more than the " +
                                       describe(kMaxRulesPerDevice) + "; join prefixes or port ranges");
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
        const auto group = index_of(policy_.groups, device_groups_[i].name);
        if (!group)
            return wrong(device_groups_[i].at,
                         "devices." + policy_.devices[i].name + ".group: the group " + group.error().message());
        policy_.devices[i].group = *group;
    }
    return check_device_identities();
}

Status PolicyReader::check_device_identities() const {
    const auto conflict = [&](const std::string& what, const Device& a, const Device& b) {
        const bool swap = b.at < a.at;
        const Device &first = swap ? b : a, &second = swap ? a : b;
        return twice("devices." + second.name + ": " + what + " belongs to devices." + first.name + " already",
                     first.at, second.at);
    };
    struct Owned {
        std::array<std::uint8_t, 16> bytes;
        const Device* device;
    };
    std::vector<Owned> macs, addresses;
    for (const Device& device : policy_.devices) {
        Owned mac{{}, &device};
        std::ranges::copy(device.mac.bytes, mac.bytes.begin());
        macs.push_back(mac);
        for (const IpAddress& address : device.addresses)
            addresses.push_back({address.mapped(), &device});
    }
    std::ranges::sort(macs, {}, &Owned::bytes);
    std::ranges::sort(addresses, {}, &Owned::bytes);
    if (const auto same = std::ranges::adjacent_find(macs, {}, &Owned::bytes); same != macs.end())
        return conflict("the MAC " + same->device->mac.str(), *same->device, *same[1].device);
    if (const auto same = std::ranges::adjacent_find(addresses, {}, &Owned::bytes); same != addresses.end()) {
        for (const IpAddress& address : same->device->addresses)
            if (address.mapped() == same->bytes)
                return conflict("the address " + address.str(), *same->device, *same[1].device);
    }
    // A service is behind the tunnel and a device is on the LAN: one address cannot be both.
    for (const Service& service : policy_.services)
        for (const IpPrefix& prefix : service.to) {
            if (prefix.length != prefix.address.bits())
                continue;
            const auto found = std::ranges::lower_bound(addresses, prefix.address.mapped(), {}, &Owned::bytes);
            if (found != addresses.end() && found->bytes == prefix.address.mapped())
                return wrong(found->device->at, "devices." + found->device->name + ": the address " +
                                                    prefix.address.str() + " is also where services." + service.name +
                                                    " is reached; one of the two is wrong");
        }
    return {};
}

} // namespace penstock::policy
