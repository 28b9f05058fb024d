#include "policy/payload.hpp"

#include "policy/reader.hpp"

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

Json at(Source source) { return Json::array({source.file, source.line}); }

} // namespace

std::string to_payload(const Policy& policy) {
    Json services = Json::object(), groups = Json::object(), devices = Json::array();
    for (const Service& service : policy.services)
        services[service.name] = {{"at", at(service.at)}, {"ports", texts(service.ports)}, {"to", texts(service.to)}};
    for (const Group& group : policy.groups) {
        Json allow = Json::array();
        for (const auto index : group.allow)
            allow.push_back(policy.services[index].name);
        groups[group.name] = {{"allow", std::move(allow)}, {"at", at(group.at)}};
    }
    for (const Device& device : policy.devices)
        devices.push_back({{"addresses", texts(device.addresses)},
                           {"at", at(device.at)},
                           {"group", policy.groups[device.group].name},
                           {"mac", device.mac.str()},
                           {"name", device.name}});
    const Json document = {{"devices", std::move(devices)},   {"expires", format_time(policy.expires)},
                           {"files", policy.files},           {"fleet", policy.fleet},
                           {"gateways", policy.gateways},     {"groups", std::move(groups)},
                           {"services", std::move(services)}, {"version", policy.version}};
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
