#include "tests/bench/world.hpp"

#include "policy/payload.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstdio>
#include <map>

namespace penstock::bench {
namespace {

constexpr const char* kFleet = "bench";

IpAddress ipv4(std::uint32_t number) {
    IpAddress out{.family = AF_INET};
    for (unsigned i = 0; i < 4; i++)
        out.bytes.at(i) = static_cast<std::uint8_t>(number >> (24 - 8 * i));
    return out;
}

IpAddress ipv6(std::uint32_t first, std::uint32_t second, std::uint32_t last) {
    IpAddress out{.family = AF_INET6};
    const std::uint32_t words[] = {first, second, 0, last};
    for (unsigned i = 0; i < 16; i++)
        out.bytes.at(i) = static_cast<std::uint8_t>(words[i / 4] >> (24 - 8 * (i % 4)));
    return out;
}

std::string numbered(char letter, std::uint32_t number) {
    char out[16];
    snprintf(out, sizeof out, "%c%06u", letter, number);
    return out;
}

// Another version: other roles, hence other rules for every device.
std::uint32_t role_of(const Size& size, std::uint64_t version, std::uint32_t device) {
    return device % size.roles + static_cast<std::uint32_t>(version - 1) * 1'000'003;
}

std::vector<std::uint32_t> groups_of(std::uint32_t role) {
    std::vector<std::uint32_t> out;
    for (std::uint32_t i = 0; i < BENCH_GROUPS_PER_DEVICE; i++)
        out.push_back(bench_group(role, i));
    return out;
}

policy::PortRange port_of(std::uint32_t service) {
    const auto port = bench_port(service);
    return {.proto = service % 2 == 0 ? policy::Proto::udp : policy::Proto::tcp, .lo = port, .hi = port};
}

} // namespace

IpAddress device_address(std::uint32_t device, bool six) {
    return six ? ipv6(0xfd200000, 0, 0x100 + device) : ipv4(BENCH_DEVICES4 + device);
}

IpAddress service_address(std::uint32_t service, bool six) {
    return six ? ipv6(0x20010db8, 0x10000 | service, BENCH_SERVICE_HOST)
               : ipv4(BENCH_SERVICES4 + service * 256 + BENCH_SERVICE_HOST);
}

IpPrefix service_network(std::uint32_t service, bool six) {
    const auto address = service_address(service, six);
    switch (service % 8) {
    case 0:
        return IpPrefix::around(address, address.bits());
    case 1:
        return IpPrefix::around(address, address.bits() - 4);
    default:
        return IpPrefix::around(address, six ? 64 : 24);
    }
}

MacAddress device_mac(std::uint32_t device) {
    MacAddress out{.bytes = {2, 0}};
    for (unsigned i = 0; i < 4; i++)
        out.bytes.at(2 + i) = static_cast<std::uint8_t>(device >> (24 - 8 * i));
    return out;
}

IpPrefix all_devices(bool six) {
    return six ? IpPrefix::around(ipv6(0xfd200000, 0, 0), 64) : IpPrefix::around(ipv4(0x0a000000), 10);
}

IpPrefix all_services(bool six) {
    return six ? IpPrefix::around(ipv6(0x20010db8, 0x10000, 0), 48) : IpPrefix::around(ipv4(BENCH_SERVICES4), 12);
}

policy::Policy make_policy(const Size& size, std::uint64_t version) {
    std::map<std::uint32_t, std::uint32_t> groups; // those in use -> index
    for (std::uint32_t d = 0; d < std::min(size.devices, size.roles); d++)
        for (const auto group : groups_of(role_of(size, version, d)))
            groups.emplace(group, 0);
    policy::Policy out{.fleet = kFleet,
                       .version = version,
                       .expires = *policy::parse_time("2100-01-01T00:00:00Z"),
                       .gateways = {"*"},
                       .files = {"bench.yaml"}};
    const policy::Source at{.file = 0, .line = 1};
    for (auto& [group, index] : groups) {
        index = static_cast<std::uint32_t>(out.groups.size());
        policy::Group made{.name = numbered('g', group), .at = at};
        for (const auto service : {2 * group, 2 * group + 1}) {
            made.allow.push_back(static_cast<std::uint32_t>(out.services.size()));
            out.services.push_back({.name = numbered('s', service),
                                    .peers = {{.prefix = service_network(service, size.ipv6)}},
                                    .ports = {port_of(service)},
                                    .at = at});
        }
        out.groups.push_back(std::move(made));
    }
    for (std::uint32_t d = 0; d < size.devices; d++) {
        policy::Device device{
            .name = numbered('d', d), .mac = device_mac(d), .addresses = {device_address(d, size.ipv6)}, .at = at};
        for (const auto group : groups_of(role_of(size, version, d)))
            device.groups.push_back(groups.at(group));
        std::ranges::sort(device.groups);
        out.devices.push_back(std::move(device));
    }
    return out;
}

nlohmann::json describe(const Size& size, std::uint64_t version) {
    nlohmann::json out = {{"services", nlohmann::json::object()}, {"roles", nlohmann::json::array()}};
    for (std::uint32_t r = 0; r < std::min(size.devices, size.roles); r++) {
        nlohmann::json role = nlohmann::json::array();
        for (const auto group : groups_of(role_of(size, version, r)))
            for (const auto service : {2 * group, 2 * group + 1}) {
                role.push_back(service);
                out["services"][std::to_string(service)] = {service_network(service, size.ipv6).str(),
                                                            service % 2 == 0 ? "udp" : "tcp", bench_port(service)};
            }
        out["roles"].push_back(std::move(role));
    }
    auto& devices = out["devices"] = nlohmann::json::array();
    for (std::uint32_t d = 0; d < size.devices; d++)
        devices.push_back({device_mac(d).str(), device_address(d, size.ipv6).str(), d % size.roles});
    return out;
}

Fleet::Fleet(policy::PrivateKey first, policy::PrivateKey second) {
    keys_.push_back(std::move(first));
    keys_.push_back(std::move(second));
}

Result<Fleet> Fleet::make() {
    auto first = policy::PrivateKey::generate(policy::KeyType::ed25519);
    if (!first)
        return tl::unexpected(first.error());
    auto second = policy::PrivateKey::generate(policy::KeyType::ed25519);
    if (!second)
        return tl::unexpected(second.error());
    return Fleet(std::move(*first), std::move(*second));
}

namespace {

Result<std::string> sign(std::string_view type, std::string payload, const std::vector<policy::PrivateKey>& keys) {
    policy::Envelope out{.payload_type = std::string(type), .payload = std::move(payload)};
    for (const auto& key : keys) {
        auto signature = key.sign(out.signed_bytes());
        if (!signature)
            return tl::unexpected(signature.error());
        out.signatures.push_back({.key_id = key.public_key().id(), .bytes = std::move(*signature)});
    }
    return out.dump();
}

} // namespace

Result<std::string> Fleet::root_document() const {
    policy::Root root{.fleet = kFleet, .version = 1, .expires = *policy::parse_time("2100-01-01T00:00:00Z")};
    for (const auto& key : keys_) {
        root.keys.emplace(key.public_key().id(), key.public_key());
        root.policy.keys.push_back(key.public_key().id());
    }
    std::ranges::sort(root.policy.keys);
    root.policy.threshold = keys_.size();
    root.root = root.policy;
    return sign(policy::kRootPayloadType, root.to_payload(), keys_);
}

Result<std::string> Fleet::bundle(const policy::Policy& policy) const {
    return sign(policy::kPolicyPayloadType, policy::to_payload(policy), keys_);
}

} // namespace penstock::bench
