#include "policy/payload.hpp"

#include "policy/read_values.hpp"
#include "policy/reader.hpp"
#include "policy/window.hpp"

#include <nlohmann/json.hpp>

namespace penstock::policy {
namespace {

using Json = nlohmann::json; // objects keep their keys sorted

template <class T> Json texts(const std::vector<T>& values) {
    Json list = Json::array();
    for (const auto& value : values)
        list.push_back(value.str());
    return list;
}

template <class T> Json names(const std::vector<std::uint32_t>& indexes, const std::vector<T>& items) {
    Json list = Json::array();
    for (const auto index : indexes)
        list.push_back(items[index].name);
    return list;
}

Json at(Source source) { return Json::array({source.file, source.line}); }

Json lan(const LanChoice& choice) {
    Json out = Json::object();
    const auto say = [&](const char* key, std::optional<bool> value) {
        if (value)
            out[key] = *value ? "on" : "off";
    };
    say("arp_nd", choice.arp_nd);
    say("dhcp", choice.dhcp);
    say("dns", choice.dns);
    say("ntp", choice.ntp);
    return out;
}

Json service_json(const Policy& policy, const Service& service) {
    Json peers = Json::array();
    for (const Peer& peer : service.peers)
        peers.push_back(policy.str(peer));
    Json out = {{"at", at(service.at)}, {"ports", texts(service.ports)}};
    out[service.direction == Direction::to ? "to" : "from"] = std::move(peers);
    if (service.require != Require::none)
        out["require"] = require_name(service.require);
    return out;
}

Json group_json(const Policy& policy, const Group& group) {
    Json out = {{"allow", names(group.allow, policy.services)}, {"at", at(group.at)}};
    if (!group.deny.empty())
        out["deny"] = names(group.deny, policy.services);
    if (group.rate != 0)
        out["rate"] = byte_rate_text(group.rate);
    if (group.packet_rate != 0)
        out["packet_rate"] = group.packet_rate;
    if (group.total_rate != 0)
        out["total_rate"] = byte_rate_text(group.total_rate);
    if (group.when)
        out["when"] = {
            {"days", days_text(*group.when)}, {"hours", hours_text(*group.when)}, {"zone", group.when->zone}};
    if (group.lan != LanChoice{})
        out["lan"] = lan(group.lan);
    return out;
}

Json device_json(const Policy& policy, const Device& device) {
    Json out = {{"at", at(device.at)}, {"mac", device.mac.str()}, {"name", device.name}};
    out["addresses"] = device.learns() ? Json("learn") : texts(device.addresses);
    if (device.groups.size() == 1)
        out["group"] = policy.groups[device.groups.front()].name;
    else
        out["groups"] = names(device.groups, policy.groups);
    if (!device.interface.empty())
        out["interface"] = device.interface;
    return out;
}

} // namespace

std::string to_payload(const Policy& policy) {
    Json services = Json::object(), groups = Json::object(), devices = Json::array();
    for (const Service& service : policy.services)
        services[service.name] = service_json(policy, service);
    for (const Group& group : policy.groups)
        groups[group.name] = group_json(policy, group);
    for (const Device& device : policy.devices)
        devices.push_back(device_json(policy, device));
    Json document = {{"devices", std::move(devices)},   {"expires", format_time(policy.expires)},
                     {"files", policy.files},           {"fleet", policy.fleet},
                     {"gateways", policy.gateways},     {"groups", std::move(groups)},
                     {"services", std::move(services)}, {"version", policy.version}};
    if (policy.not_before)
        document["not_before"] = format_time(*policy.not_before);
    if (policy.lan != LanChoice{})
        document["lan"] = lan(policy.lan);
    return document.dump();
}

Result<Policy> from_payload(std::string_view payload) {
    const auto document = parse_json(payload, "payload");
    if (!document)
        return tl::unexpected(document.error());
    PolicyReader reader(PolicyReader::Form::payload);
    if (auto read = reader.add(*document, "payload", ""); !read)
        return tl::unexpected(read.error());
    return reader.finish();
}

} // namespace penstock::policy
