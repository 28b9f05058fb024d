// Which device claimed which address first, and still holds it: for devices whose addresses the policy does not list.
//
// A claim is a frame of the device that says an address is its own (ARP, RFC 826; neighbour discovery, RFC 4861; or a
// packet's source), and that nobody has by the policy. An address is held by one device until it was not used for
// kHold; the others are refused it.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

namespace penstock::core {

// Safe to use from several threads.
class LearntAddresses {
public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::hours kHold{2}; // no shorter than the packet path keeps a silent TCP flow
    static constexpr std::size_t kMost = 8;       // of a device and family; the packet path has numbers for twice that

    // Whether the device holds the address; an error says why it cannot: who does, or that it holds too many.
    [[nodiscard]] Result<bool> holds(const MacAddress& device, const IpAddress& address) const;
    // Holds it from now on, or still; an error as above.
    Status claim(const MacAddress& device, const IpAddress& address, Time now);
    // What is not to be kept is forgotten.
    void keep(const std::function<bool(const MacAddress&, const IpAddress&)>& which);
    // Forgets what was neither claimed nor in use for kHold; true if there was something.
    bool expire(Time now, const std::function<bool(const IpAddress&)>& in_use);
    void forget_all();

    [[nodiscard]] std::vector<IpAddress> of(const MacAddress& device) const; // in the order they were claimed
    [[nodiscard]] bool empty() const;

private:
    struct Held {
        IpAddress address;
        Time since; // it was claimed, or last found in use
    };
    // With mutex_ held.
    [[nodiscard]] Result<bool> look(const MacAddress& device, const IpAddress& address) const;
    template <class Goes> bool forget_if(Goes goes);

    mutable std::mutex mutex_;
    std::map<MacAddress, std::vector<Held>> held_;
    std::map<IpAddress, MacAddress> holder_;
};

} // namespace penstock::core
