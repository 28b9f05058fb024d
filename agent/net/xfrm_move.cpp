// Gives an SA other outer addresses: read with its key, delete, add again.
#include "agent/net/xfrm_codec.hpp"

#include <arpa/inet.h>

#include <limits>

namespace penstock::net {
namespace {

// Packets that may have left between reading and deleting: more than any link sends in that time, and far less than
// what a receiver takes for a wrap of the sequence number (RFC 4303, A2).
constexpr std::uint32_t kSequenceJump = 1U << 20;

bool copied(int attribute) {
    switch (attribute) {
    case XFRMA_LASTUSED:    // answers only
    case XFRMA_OFFLOAD_DEV: // bound to the old path; refused by design anyway
    case XFRMA_ENCAP:       // written anew
    case XFRMA_REPLAY_VAL:  // written anew, ahead of the old one
    case XFRMA_REPLAY_ESN_VAL:
        return false;
    default:
        return true;
    }
}

// The replay state of the new SA. False if the sequence numbers would run out.
bool put_replay(Message& message, const Attributes& attrs) {
    if (const nlattr* raw = attrs.raw(XFRMA_REPLAY_ESN_VAL)) {
        auto state = attrs.get<ReplayHead>(XFRMA_REPLAY_ESN_VAL);
        if (!state)
            return false;
        std::uint64_t sequence = static_cast<std::uint64_t>(state->oseq_hi) << 32 | state->oseq;
        if (sequence != 0)
            sequence += kSequenceJump;
        state->oseq = static_cast<std::uint32_t>(sequence);
        state->oseq_hi = static_cast<std::uint32_t>(sequence >> 32);
        std::vector<std::uint8_t> buffer(static_cast<const std::uint8_t*>(nla_data(raw)),
                                         static_cast<const std::uint8_t*>(nla_data(raw)) + nla_len(raw));
        std::memcpy(buffer.data(), &*state, sizeof *state);
        message.put_bytes(XFRMA_REPLAY_ESN_VAL, buffer.data(), buffer.size());
        return true;
    }
    if (auto state = attrs.get<xfrm_replay_state>(XFRMA_REPLAY_VAL)) {
        if (state->oseq > std::numeric_limits<std::uint32_t>::max() - kSequenceJump)
            return false;
        if (state->oseq != 0)
            state->oseq += kSequenceJump;
        message.put(XFRMA_REPLAY_VAL, *state);
    }
    return true;
}

struct Target {
    const IpAddress& source;
    const IpAddress& destination;
    const std::optional<UdpEncapsulation>& encapsulation;
};

// Fills the request that adds the SA again from the kernel's answer about the old one.
bool rebuild(Message& message, const nlmsghdr& answer, const Target& target) {
    auto info = header_of<xfrm_usersa_info>(answer);
    if (answer.nlmsg_type != XFRM_MSG_NEWSA || !info)
        return false;
    const auto attrs = Attributes::after<xfrm_usersa_info>(answer);
    info->saddr = to_xfrm(target.source);
    info->id.daddr = to_xfrm(target.destination);
    info->family = static_cast<std::uint16_t>(target.destination.family);
    message.header(*info);
    for (int attribute = 1; attribute <= Attributes::kMax; attribute++)
        if (const nlattr* raw = attrs.raw(attribute); raw != nullptr && copied(attribute))
            message.put_bytes(attribute, nla_data(raw), static_cast<std::size_t>(nla_len(raw)));
    message.put(XFRMA_LTIME_VAL, info->curlft); // counters and age go on: the move must not extend a lifetime
    if (target.encapsulation) {
        xfrm_encap_tmpl encap{};
        encap.encap_type = 2; // UDP_ENCAP_ESPINUDP
        encap.encap_sport = htons(target.encapsulation->source_port);
        encap.encap_dport = htons(target.encapsulation->destination_port);
        message.put(XFRMA_ENCAP, encap);
    }
    return put_replay(message, attrs);
}

} // namespace

Status move_sa(const SaId& id, const IpAddress& source, const IpAddress& destination,
               std::optional<UdpEncapsulation> encapsulation) {
    const std::string what = "cannot move " + describe(id) + " to " + source.str() + " -> " + destination.str();
    if (source.family != destination.family)
        return fail(what + ": both outer addresses must be of one family", EINVAL);
    Message query(XFRM_MSG_GETSA);
    query.header(encode_id(id));
    auto socket = Socket::make(NETLINK_XFRM);
    if (!socket)
        return fail(what, std::move(socket.error()));
    Message replacement(XFRM_MSG_NEWSA); // holds the key; wiped when this returns
    bool ready = false;
    auto done = socket->query(query, what, [&](const nlmsghdr& answer) {
        ready = rebuild(replacement, answer, {source, destination, encapsulation});
    });
    if (!done)
        return done;
    if (!ready || replacement.too_long())
        return fail(what + ": its state cannot be carried over; it needs a rekey", EOVERFLOW);
    if (auto deleted = delete_sa(id); !deleted)
        return fail(what, std::move(deleted.error()));
    return transact(NETLINK_XFRM, replacement, what);
}

} // namespace penstock::net
