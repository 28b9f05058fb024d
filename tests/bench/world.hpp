// The policy of the benchmarks' world (world.h) as a signed bundle, and the keys that sign it.
#pragma once

#include "policy/bundle/root.hpp"
#include "policy/model.hpp"
#include "tests/bench/world.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace penstock::bench {

struct Size {
    std::uint32_t devices = 0;
    std::uint32_t roles = 0; // devices of one role have the same ten rules; as many as devices: each has its own
    bool ipv6 = false;
};

IpAddress device_address(std::uint32_t device, bool ipv6);
IpAddress service_address(std::uint32_t service, bool ipv6); // the one that is sent to
IpPrefix service_network(std::uint32_t service, bool ipv6);
MacAddress device_mac(std::uint32_t device);
IpPrefix all_devices(bool ipv6);
IpPrefix all_services(bool ipv6);

// Two policies of the same size and different versions differ in what every device may do.
policy::Policy make_policy(const Size& size, std::uint64_t version);

// {"services": {index: [prefix, protocol, port]}, "roles": [[index]], "devices": [[mac, address, role]]}: the same for
// whoever writes rules for another filter.
nlohmann::json describe(const Size& size, std::uint64_t version);

// A fleet with two keys for policies, of which both must sign.
class Fleet {
public:
    static Result<Fleet> make();
    [[nodiscard]] Result<std::string> root_document() const;
    [[nodiscard]] Result<std::string> bundle(const policy::Policy& policy) const;

private:
    Fleet(policy::PrivateKey first, policy::PrivateKey second);
    std::vector<policy::PrivateKey> keys_;
};

} // namespace penstock::bench
