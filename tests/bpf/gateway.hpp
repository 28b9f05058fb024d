// A gateway with two devices, an uplink and two tunnels, set up in the maps of the programs:
//
//   device 12, 13 -- lan0 [gateway] wan0 -- peer 192.0.2.2: tunnel 0 (up) to 203.0.113.0/24, 2001:db8:203::/64
//                                                          tunnel 1 (down) to 203.0.114.0/24, 2001:db8:204::/64
// raw0 is an uplink without Ethernet headers, tun0 the TUN of the userspace ESP, other0 an interface nobody registered.
#pragma once

#include "agent/datapath/counters.hpp"
#include "agent/datapath/gate.hpp"
#include "agent/datapath/policy_store.hpp"
#include "agent/datapath/programs.hpp"
#include "tests/bpf/kernel.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace penstock::test {

inline constexpr std::uint32_t kMask = 0x30000000, kDeviceMark = 0x10000000, kEspMark = 0x20000000,
                               kIkeMark = 0x30000000;
inline constexpr std::uint32_t kSpi = 0xc0ffee01;

IpAddress address(const std::string& text);
IpPrefix prefix(const std::string& text);
MacAddress mac(const std::string& text);

template <class T> T must(Result<T> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
    if constexpr (!std::is_void_v<T>)
        return std::move(*result);
}

// proto "tcp", "udp", "icmp", "icmpv6" or "any"
datapath::Rule rule(const std::string& proto, const std::string& to, std::uint16_t low, std::uint16_t high);

struct Gateway {
    // shared: the programs of all such gateways, loaded once (the verifier takes its time), with state and policy of
    // this one; one at a time. own: loaded for this one, drop counters from zero.
    enum class Maps { shared, own };
    explicit Gateway(Maps maps = Maps::shared);

    // "pass", or the name of the one reason under which exactly one drop was counted; anything else tells what is
    // inconsistent.
    std::string judge(datapath::Hook hook, const Bytes& frame, const Context& context);
    // The verdict on the first `length` bytes; nothing where BPF_PROG_TEST_RUN refuses half an IP header (newer
    // kernels).
    using Judge = std::function<std::string(const Bytes&)>;
    static std::optional<std::string> truncated(const Judge& judge, const Bytes& whole, std::size_t length);
    std::string from_device(const Bytes& frame, std::uint32_t mark = 0);
    // Out of the TUN, userspace ESP; to the device that has the IP destination, or to the MAC address in the frame.
    std::string to_device(const Bytes& frame);
    std::string to_device_as_is(const Bytes& frame);
    // What a device sent to another one and lan_ingress passed, on its way out of lan0.
    std::string device_to_device(const Bytes& frame);
    std::string uplink(const Bytes& frame, std::uint32_t mark = 0);
    // In from the provider.
    std::string from_uplink(const Bytes& frame);
    // What uplink() says of a packet that was forwarded from lan0.
    std::string uplink_forwarded(const Bytes& frame, std::uint32_t mark = 0);

    // What the witness does when it sees a frame in clear (1), and the operator after that (0).
    void set_latch(std::uint32_t latch) const;
    // As after boot: programs attached, nothing loaded yet.
    void forget_policy(std::uint32_t flags);
    // The policy that the constructor puts in force.
    static datapath::PolicyTables policy();
    void enforce(const datapath::PolicyTables& tables);
    // The policy of the constructor with these rules for device 12.
    void enforce_rules(std::vector<datapath::Rule> rules);

    int lan, wan, raw, tun, other;
    struct Loaded {
        datapath::ProgramOptions options;
        datapath::Programs programs;
    };
    std::shared_ptr<Loaded> loaded;
    const datapath::ProgramOptions& options;
    const datapath::Programs& programs;
    datapath::Gate gate;
    datapath::PolicyStore store;
    datapath::Counters counters;
    std::uint32_t mark_after = 0; // of the last packet judged
};

// PKTGEN: the frame. SETUP: what is different about the gateway. CHECK: the verdict.
struct Case {
    const char* name;
    Packet packet;
    std::string verdict;
    std::function<void(Gateway&)> setup = {};
};

} // namespace penstock::test
