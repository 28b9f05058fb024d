// One MAC and one address belong to one device, and to no service.
#include "policy/reader.hpp"

#include <algorithm>
#include <array>

namespace penstock::policy {

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
        for (const Peer& peer : service.peers) {
            const IpPrefix& prefix = peer.prefix;
            if (peer.kind != Peer::Kind::prefix || prefix.length != prefix.address.bits())
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
