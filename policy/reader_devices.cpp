// Devices: who is who, and which groups say what it may do.
#include "policy/reader_walk.hpp"

#include <array>

namespace penstock::policy {
namespace {

constexpr std::array<std::string_view, 7> kDevice{"name", "mac", "addresses", "group", "groups", "interface", "at"};
constexpr std::array<std::string_view, 4> kDeviceHas{"name", "mac", "addresses", "at"};

} // namespace

Status PolicyReader::read_device(Value value, const Path& path) {
    Device device;
    device.at = source(value);
    References groups;
    // Errors name the device as soon as its name is known.
    std::string_view name, key_of_groups;
    if (value.kind() == Kind::map)
        for (const Value field : value)
            if (field.key() == "name" && field.kind() == Kind::text && is_name(field.text()))
                name = field.text();
    const Path named = name.empty() ? path : Path{path.up, name};
    auto ok = each_field(value, named, kDevice, kDeviceHas, [&](Value field, const Path& here) -> Status {
        const auto key = field.key();
        if (key == "at")
            return read_at(field, here, device.at);
        if (key == "addresses")
            return read_addresses(field, here, device);
        if (key == "group" || key == "groups") {
            if (!key_of_groups.empty())
                return wrong(field, here, "a device has either `group` or `groups`; keep one");
            key_of_groups = key;
            if (key == "groups") {
                auto list = read_references(field, here, kMaxGroupsPerDevice, groups);
                return list && groups.empty() ? wrong(field, here, "is empty; name at least one") : list;
            }
            if (field.kind() == Kind::list)
                return wrong(field, here, "is one group's name; write groups: [...] for several");
        }
        if (auto text = expect(field, here, Kind::text, "\"...\""); !text)
            return text;
        if (key == "mac") {
            const auto mac = read_mac(field.text());
            if (!mac)
                return wrong(field, here, mac.error().message());
            device.mac = *mac;
        } else if (key == "group") {
            groups.push_back({std::string(field.text()), source(field)});
        } else if (key == "interface") {
            if (!is_interface_name(field.text()))
                return wrong(field, here, quote(field.text()) + " is not an interface's name such as lan0");
            device.interface = field.text();
        } else if (!is_name(field.text())) {
            return wrong(field, here, "a name is 1 to 64 letters, digits, '.', '_' or '-'");
        } else {
            device.name = field.text();
        }
        return {};
    });
    if (!ok)
        return ok;
    if (key_of_groups.empty())
        return wrong(value, named, R"(has neither "group" nor "groups"; add one)");
    policy_.devices.push_back(std::move(device));
    device_groups_.push_back(std::move(groups));
    return {};
}

Status PolicyReader::read_addresses(Value value, const Path& path, Device& device) {
    if (value.kind() == Kind::text && value.text() == "learn")
        return {};
    if (value.kind() == Kind::list && value.size() == 0)
        return wrong(value, path, "is empty; list the device's addresses, or write addresses: learn");
    if (value.kind() == Kind::list)
        for (const Value item : value)
            if (item.kind() == Kind::text && item.text() == "learn")
                return wrong(item, path, "are learnt or listed, not both; to have them learnt, write addresses: learn");
    return read_set(value, path, kMaxAddressesPerDevice, device.addresses, read_address);
}

} // namespace penstock::policy
