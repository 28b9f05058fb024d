#include "policy/oracle_gateway.hpp"

#include <sys/socket.h>
#include <utility>

namespace penstock::policy {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17;

bool is_icmp(const Packet& packet) { return packet.proto == (packet.source.family == AF_INET ? 1 : 58); }
std::uint8_t echo_request(const IpAddress& address) { return address.family == AF_INET ? 8 : 128; }
std::uint8_t echo_reply(const IpAddress& address) { return address.family == AF_INET ? 0 : 129; }

bool opens_tls(const std::vector<std::uint8_t>& data, bool initiator) {
    if (data.size() < 5)
        return false;
    const bool handshake = data[0] == 22, alert = data[0] == 21;
    const int length = data[3] * 256 + data[4];
    return (handshake || (alert && !initiator)) && data[1] == 3 && data[2] <= 4 && length >= 1 &&
           length <= 16'384 + 256;
}

bool is_dtls(const std::vector<std::uint8_t>& data, bool opening, bool initiator) {
    const int type = data[0];
    if (!opening && type >= 0x20 && type <= 0x3f)
        return data.size() >= 3;
    if (data.size() < 13 || data[1] != 254 || (data[2] != 255 && data[2] != 253 && data[2] != 252))
        return false;
    if (!opening && type == 25)
        return true;
    const std::size_t length = data[11] * 256U + data[12];
    if (length < 1 || length + 13 > data.size())
        return false;
    if (opening)
        return type == 22 || (type == 21 && !initiator);
    return (type >= 20 && type <= 24) || type == 26;
}

Verdict refuse(Reason reason, const std::string& why) {
    return {.allow = false, .reason = reason, .citation = "denied: " + why};
}

const Verdict kPassed{.allow = true, .reason = Reason::allowed, .citation = "allowed: it belongs to a flow"};

// Remembers in `shown` what this packet shows. Does it speak what is required?
bool speaks(Require require, std::array<bool, 2>& shown, const Transit& transit, bool from_initiator) {
    bool& mine = shown[from_initiator ? 0 : 1];
    if (require == Require::tls && from_initiator && (transit.tcp_flags & kTcpSyn) != 0 &&
        (transit.tcp_flags & kTcpAck) == 0)
        shown = {};
    if (require == Require::none || transit.data.empty())
        return true;
    if (require == Require::tls && mine)
        return true;
    if (!from_initiator && !shown[0])
        return false; // who began speaks first
    const bool good = require == Require::tls ? opens_tls(transit.data, from_initiator)
                                              : is_dtls(transit.data, !mine, from_initiator);
    mine = mine || good;
    return good;
}

Verdict not_spoken(Require require) {
    return refuse(require == Require::tls ? Reason::not_tls : Reason::not_dtls,
                  "it does not speak " + std::string(require_name(require)));
}

} // namespace

void Gateway::switch_to(const Policy& policy, Time at) {
    policy_ = &policy;
    at_ = at;
    generation_++;
}

bool Gateway::Flow::same_as(const Flow& other) const {
    return beginning.proto == other.beginning.proto && initiator == other.initiator && responder == other.responder &&
           initiator_port == other.initiator_port && responder_port == other.responder_port;
}

Gateway::End Gateway::end_at(const IpAddress& address) const {
    for (const Device& device : policy_->devices)
        for (const IpAddress& own : device.addresses)
            if (own == address)
                return {address, device.mac};
    return {address, {}};
}

// The flow that the packet belongs to if its sender began it; echo replies: if its receiver did.
std::optional<Gateway::Flow> Gateway::flow_of(const Transit& transit) const {
    const Packet& packet = transit.packet;
    const bool outgoing = packet.came == Came::from_device;
    Flow flow{.beginning = packet,
              .initiator = outgoing ? End{packet.source, packet.mac} : End{packet.source, {}},
              .responder = end_at(packet.destination)};
    if (packet.proto == kTcp || packet.proto == kUdp) {
        flow.initiator_port = packet.source_port;
        flow.responder_port = packet.destination_port;
        return flow;
    }
    const bool request = packet.destination_port == echo_request(packet.source);
    if (!is_icmp(packet) || (!request && packet.destination_port != echo_reply(packet.source)))
        return std::nullopt;
    if (!request)
        std::swap(flow.initiator, flow.responder);
    flow.initiator_port = flow.responder_port = transit.echo_id;
    return flow;
}

// The flow that an error from sender to receiver complains about: of a packet that the receiver had sent.
std::optional<Gateway::Flow> Gateway::flow_of(const Quoted& quoted, const End& sender, const End& receiver) const {
    const bool from_device = sender.mac != MacAddress{};
    if (quoted.source != receiver.address || (from_device && quoted.destination != sender.address))
        return std::nullopt;
    Flow flow{.initiator = receiver, .responder = {quoted.destination, sender.mac}};
    flow.beginning.proto = quoted.proto;
    if (quoted.proto == kTcp || quoted.proto == kUdp) {
        flow.initiator_port = quoted.source_port;
        flow.responder_port = quoted.destination_port;
        return flow;
    }
    const bool request = quoted.icmp_type == echo_request(quoted.source);
    if (quoted.proto != (quoted.source.family == AF_INET ? 1 : 58) ||
        (!request && quoted.icmp_type != echo_reply(quoted.source)))
        return std::nullopt;
    if (!request)
        std::swap(flow.initiator, flow.responder);
    flow.initiator_port = flow.responder_port = quoted.echo_id;
    return flow;
}

Gateway::Flow* Gateway::find(const Flow& wanted) {
    Flow turned = wanted;
    std::swap(turned.initiator, turned.responder);
    std::swap(turned.initiator_port, turned.responder_port);
    const bool both_ways = wanted.beginning.proto == kTcp || wanted.beginning.proto == kUdp;
    for (Flow& flow : flows_)
        if (flow.same_as(wanted) || (both_ways && flow.same_as(turned)))
            return &flow;
    return nullptr;
}

Verdict Gateway::judge(const Transit& transit) {
    const Packet& packet = transit.packet;
    Verdict identity = policy::judge(*policy_, at_, packet);
    if (identity.reason == Reason::unknown_device || identity.reason == Reason::wrong_interface ||
        identity.reason == Reason::spoofed_address || identity.reason == Reason::multicast)
        return identity;
    const End source{packet.source, packet.came == Came::from_device ? packet.mac : MacAddress{}};
    const End destination = end_at(packet.destination);
    if (transit.fragment && transit.fragment->later)
        return judge_later(transit, source, destination);
    if (transit.fragment && transit.fragment->odd)
        return refuse(Reason::fragment, "a first fragment holds a multiple of 8 bytes");
    Verdict verdict = judge_whole(transit, source, destination);
    if (verdict.allow && transit.fragment)
        firsts_.push_back(
            {source, destination, packet.proto, transit.fragment->id, transit.fragment->end, generation_});
    return verdict;
}

Verdict Gateway::judge_whole(const Transit& transit, const End& source, const End& destination) {
    const Packet& packet = transit.packet;
    if (const auto wanted = flow_of(transit))
        if (Flow* flow = find(*wanted))
            return judge_known(*flow, transit, source, false);
    if (is_icmp(packet) && transit.quoted)
        if (const auto wanted = flow_of(*transit.quoted, source, destination))
            if (Flow* flow = find(*wanted))
                return judge_known(*flow, transit, source, true);

    Verdict verdict = policy::judge(*policy_, at_, packet);
    if (verdict.reason == Reason::not_allowed && packet.came == Came::out_of_tunnel)
        verdict.reason = Reason::no_flow;
    const bool begins = packet.proto == kTcp || packet.proto == kUdp ||
                        (is_icmp(packet) && packet.destination_port == echo_request(packet.source));
    if (!verdict.allow || !begins)
        return verdict;
    Flow flow = *flow_of(transit);
    flow.generation = generation_;
    flow.require = verdict.require;
    if (!speaks(flow.require, flow.shown, transit, true))
        return not_spoken(flow.require);
    flows_.push_back(std::move(flow));
    return verdict;
}

// What a packet that is dropped would have changed does not change.
Verdict Gateway::judge_known(Flow& known, const Transit& transit, const End& source, bool related) {
    Flow flow = known;
    const bool syn_alone = transit.packet.proto == kTcp && (transit.tcp_flags & (kTcpSyn | kTcpAck)) == kTcpSyn;
    const bool by_initiator = source == flow.initiator && (transit.packet.proto != kTcp && transit.packet.proto != kUdp
                                                               ? true
                                                               : transit.packet.source_port == flow.initiator_port);
    const bool turned = !related && syn_alone && !by_initiator; // a connection of its own, the other way
    if (turned) {
        const Flow own = *flow_of(transit);
        flow = own;
    }
    if (turned || flow.generation != generation_) {
        Verdict verdict = policy::judge(*policy_, at_, flow.beginning);
        if (!verdict.allow)
            return verdict;
        flow.generation = generation_;
        flow.require = verdict.require;
        if (flow.require == Require::none)
            flow.shown = {};
    }
    if (!related && !speaks(flow.require, flow.shown, transit, turned || by_initiator))
        return not_spoken(flow.require);
    known = flow;
    return kPassed;
}

Verdict Gateway::judge_later(const Transit& transit, const End& source, const End& destination) const {
    for (const First& first : firsts_)
        if (first.generation == generation_ && first.source == source && first.destination == destination &&
            first.id == transit.fragment->id && transit.fragment->offset >= first.end &&
            (source.address.family == AF_INET6 || first.proto == transit.packet.proto))
            return kPassed;
    return refuse(Reason::fragment, "its first fragment did not pass before it");
}

} // namespace penstock::policy
