// The oracle with a memory: judges packets one after the other, as README.md ("What a policy means") says, with flows,
// fragments and what flows must speak. Knows no time-outs, rates, tunnels and capacities; shares no code with what it
// is the judge of.
#pragma once

#include "policy/oracle.hpp"

#include <array>
#include <optional>
#include <vector>

namespace penstock::policy {

inline constexpr std::uint8_t kTcpSyn = 0x02, kTcpAck = 0x10;

// The head of the packet that an ICMP error complains about.
struct Quoted {
    IpAddress source, destination;
    std::uint8_t proto = 0;
    std::uint16_t source_port = 0, destination_port = 0; // TCP, UDP
    std::uint8_t icmp_type = 0;
    std::uint16_t echo_id = 0;
};

struct Fragment {
    bool later = false;       // not the first one: proto is known, the transport header is not
    std::uint32_t id = 0;     // in any byte order
    std::uint16_t offset = 0; // of a later one, in units of 8 bytes
    std::uint16_t end = 0;    // of a first one: its length in units of 8 bytes, rounded down
    bool odd = false;         // the length is no multiple of 8
};

// One packet on its way through the gateway.
struct Transit {
    Packet packet;
    std::uint8_t tcp_flags = 0;
    std::vector<std::uint8_t> data; // of TCP or UDP
    std::uint16_t echo_id = 0;
    std::optional<Quoted> quoted; // of an ICMP error
    std::optional<Fragment> fragment;
};

class Gateway {
public:
    // The policy must outlive the gateway, or the next switch_to().
    Gateway(const Policy& policy, Time at) : policy_(&policy), at_(at) {}

    // A new generation: another policy, or the same one at another time.
    void switch_to(const Policy& policy, Time at);

    Verdict judge(const Transit& transit);

private:
    struct End { // an address, and the device that owns it (all zero: behind a tunnel)
        IpAddress address;
        MacAddress mac;
        bool operator==(const End&) const = default;
    };
    struct Flow {
        Packet beginning; // the packet that is judged again under each new generation
        End initiator, responder;
        std::uint16_t initiator_port = 0, responder_port = 0; // echo: the identifier twice
        std::uint64_t generation = 0;
        Require require = Require::none;
        std::array<bool, 2> shown{}; // by the initiator, by the responder: that it speaks what is required
        [[nodiscard]] bool same_as(const Flow& other) const;
    };
    struct First { // a first fragment that passed
        End source, destination;
        std::uint8_t proto;
        std::uint32_t id;
        std::uint16_t end;
        std::uint64_t generation;
    };

    [[nodiscard]] End end_at(const IpAddress& address) const;
    [[nodiscard]] std::optional<Flow> flow_of(const Transit& transit) const;
    [[nodiscard]] std::optional<Flow> flow_of(const Quoted& quoted, const End& sender, const End& receiver) const;
    Flow* find(const Flow& wanted);
    Verdict judge_whole(const Transit& transit, const End& source, const End& destination);
    Verdict judge_known(Flow& flow, const Transit& transit, const End& source, bool related);
    [[nodiscard]] Verdict judge_later(const Transit& transit, const End& source, const End& destination) const;

    const Policy* policy_;
    Time at_;
    std::uint64_t generation_ = 1;
    std::vector<Flow> flows_;
    std::vector<First> firsts_;
};

} // namespace penstock::policy
