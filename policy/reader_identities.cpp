// One MAC and one address belong to one device, and to no service.
#include "policy/reader.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace penstock::policy {

Status PolicyReader::check_device_identities() const {
    const auto conflict = [&](const std::string& what, const Device& a, const Device& b) {
        const bool swap = b.at < a.at;
        const Device &first = swap ? b : a, &second = swap ? a : b;
        return twice("devices." + second.name + ": " + what + " belongs to devices." + first.name + " already",
                     first.at, second.at);
    };
    struct Owned {
        std::uint64_t high, low; // in an order that is fast to compare, and no other
        const Device* device;
        [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> key() const { return {high, low}; }
        static Owned of(const std::array<std::uint8_t, 16>& bytes, const Device* device) {
            Owned out{0, 0, device};
            std::memcpy(&out.high, bytes.data(), 8);
            std::memcpy(&out.low, bytes.data() + 8, 8);
            return out;
        }
    };
    std::vector<Owned> macs, addresses;
    for (const Device& device : policy_.devices) {
        std::array<std::uint8_t, 16> mac{};
        std::ranges::copy(device.mac.bytes, mac.begin());
        macs.push_back(Owned::of(mac, &device));
        for (const IpAddress& address : device.addresses)
            addresses.push_back(Owned::of(address.mapped(), &device));
    }
    std::ranges::sort(macs, {}, &Owned::key);
    std::ranges::sort(addresses, {}, &Owned::key);
    if (const auto same = std::ranges::adjacent_find(macs, {}, &Owned::key); same != macs.end())
        return conflict("the MAC " + same->device->mac.str(), *same->device, *same[1].device);
    if (const auto same = std::ranges::adjacent_find(addresses, {}, &Owned::key); same != addresses.end()) {
        for (const IpAddress& address : same->device->addresses)
            if (Owned::of(address.mapped(), nullptr).key() == same->key())
                return conflict("the address " + address.str(), *same->device, *same[1].device);
    }
    // A service is behind the tunnel and a device is on the LAN: one address cannot be both.
    for (const Service& service : policy_.services)
        for (const Peer& peer : service.peers) {
            const IpPrefix& prefix = peer.prefix;
            if (peer.kind != Peer::Kind::prefix || prefix.length != prefix.address.bits())
                continue;
            const auto wanted = Owned::of(prefix.address.mapped(), nullptr).key();
            const auto found = std::ranges::lower_bound(addresses, wanted, {}, &Owned::key);
            if (found != addresses.end() && found->key() == wanted)
                return wrong(found->device->at, "devices." + found->device->name + ": the address " +
                                                    prefix.address.str() + " is also where services." + service.name +
                                                    " is reached; one of the two is wrong");
        }
    return {};
}

} // namespace penstock::policy
