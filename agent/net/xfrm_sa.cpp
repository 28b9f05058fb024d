// Security associations: reserve an SPI, add, complete, delete, read.
#include "agent/net/xfrm_codec.hpp"

#include <arpa/inet.h>

#include <algorithm>

namespace penstock::net {
namespace {

constexpr unsigned kMaxReplayWindow = 4096; // XFRMA_REPLAY_ESN_MAX bytes of bitmap, in packets
constexpr std::size_t kMaxKey = 64;

// Replay state with its bitmap behind it: two counters of 64 bits and a window.
constexpr std::size_t replay_size(std::uint32_t window) {
    return sizeof(ReplayHead) + (window + 31) / 32 * sizeof(std::uint32_t);
}

Status check(const SecurityAssociation& sa, const std::string& what) {
    if (sa.source.family != sa.destination.family || (sa.source.family != AF_INET && sa.source.family != AF_INET6))
        return fail(what + ": both outer addresses must be of one family", EINVAL);
    if (sa.spi < 256) // RFC 4303, 2.1: reserved
        return fail(what + ": an SPI below 256 is reserved", EINVAL);
    if (sa.aead.empty() || sa.aead.size() >= sizeof(AeadHead::name))
        return fail(what + ": the name of the AEAD cipher is empty or too long", EINVAL);
    if (sa.key.size() == 0 || sa.key.size() > kMaxKey)
        return fail(what + ": a key of " + std::to_string(sa.key.size()) + " bytes", EINVAL);
    if (sa.icv_bits != 64 && sa.icv_bits != 96 && sa.icv_bits != 128)
        return fail(what + ": an ICV of " + std::to_string(sa.icv_bits) + " bits", EINVAL);
    if (sa.replay_window > kMaxReplayWindow)
        return fail(what + ": a replay window above 4096", EINVAL);
    if (sa.inbound && sa.replay_window == 0)
        return fail(what + ": an inbound SA needs a replay window", EINVAL);
    return {};
}

xfrm_lifetime_cfg encode_lifetime(const Lifetime& lifetime) {
    const auto limit = [](std::uint64_t value) { return value == 0 ? XFRM_INF : value; };
    xfrm_lifetime_cfg out = unlimited();
    out.soft_byte_limit = limit(lifetime.soft_bytes);
    out.hard_byte_limit = limit(lifetime.hard_bytes);
    out.soft_packet_limit = limit(lifetime.soft_packets);
    out.hard_packet_limit = limit(lifetime.hard_packets);
    out.soft_add_expires_seconds = lifetime.soft_seconds; // of seconds the kernel takes 0 for "none" itself
    out.hard_add_expires_seconds = lifetime.hard_seconds;
    return out;
}

void put_cipher(Message& message, const SecurityAssociation& sa) {
    std::uint8_t buffer[sizeof(AeadHead) + kMaxKey] = {};
    AeadHead aead{};
    std::memcpy(aead.name, sa.aead.data(), sa.aead.size());
    aead.key_bits = static_cast<std::uint32_t>(sa.key.size() * 8);
    aead.icv_bits = sa.icv_bits;
    std::memcpy(buffer, &aead, sizeof aead);
    std::memcpy(buffer + sizeof aead, sa.key.data(), sa.key.size());
    message.put_bytes(XFRMA_ALG_AEAD, buffer, sizeof aead + sa.key.size());
    explicit_bzero(buffer, sizeof buffer);
}

void put_replay(Message& message, std::uint32_t window) {
    std::vector<std::uint8_t> buffer(replay_size(window));
    ReplayHead state{};
    state.window = window;
    state.bitmap_words = (window + 31) / 32;
    std::memcpy(buffer.data(), &state, sizeof state);
    message.put_bytes(XFRMA_REPLAY_ESN_VAL, buffer.data(), buffer.size());
}

// with_direction: tell the kernel which way the SA faces (6.10+), so that it refuses packets the wrong way round.
void fill(Message& message, const SecurityAssociation& sa, bool with_direction) {
    xfrm_usersa_info info{};
    info.saddr = to_xfrm(sa.source);
    info.id.daddr = to_xfrm(sa.destination);
    info.id.spi = htonl(sa.spi);
    info.id.proto = IPPROTO_ESP;
    info.family = static_cast<std::uint16_t>(sa.source.family);
    info.mode = XFRM_MODE_TUNNEL;
    info.reqid = sa.reqid;
    info.lft = encode_lifetime(sa.lifetime);
    info.flags = XFRM_STATE_AF_UNSPEC; // either family inside
    if (!sa.copy_ecn)
        info.flags |= XFRM_STATE_NOECN;
    if (!sa.copy_df && !sa.inbound)
        info.flags |= XFRM_STATE_NOPMTUDISC;
    if (sa.copy_dscp && sa.inbound)
        info.flags |= XFRM_STATE_DECAP_DSCP;
    if (sa.esn)
        info.flags |= XFRM_STATE_ESN;
    message.header(info);
    put_cipher(message, sa);
    if (sa.encapsulation) {
        xfrm_encap_tmpl encap{};
        encap.encap_type = 2; // UDP_ENCAP_ESPINUDP
        encap.encap_sport = htons(sa.encapsulation->source_port);
        encap.encap_dport = htons(sa.encapsulation->destination_port);
        message.put(XFRMA_ENCAP, encap);
    }
    // Without a direction the kernel demands a window also of an outbound ESN SA, which never looks at it.
    const std::uint32_t window = sa.inbound ? sa.replay_window : sa.esn && !with_direction ? 32 : 0;
    if (sa.esn || window > 0)
        put_replay(message, window);
    if (sa.output_mark_mask != 0)
        message.put<std::uint32_t>(XFRMA_SET_MARK, sa.output_mark)
            .put<std::uint32_t>(XFRMA_SET_MARK_MASK, sa.output_mark_mask);
    if (with_direction)
        message.put<std::uint8_t>(kXfrmaSaDir, sa.inbound ? kSaDirIn : kSaDirOut);
}

Status install(int type, const SecurityAssociation& sa) {
    const std::string what = "cannot add " + describe({sa.destination, sa.spi});
    if (auto checked = check(sa, what); !checked)
        return checked;
    Message message(type);
    fill(message, sa, true);
    auto done = transact(NETLINK_XFRM, message, what);
    // Kernels before 6.10 skip the attribute they do not know, so only the one thing they then refuse needs a second
    // try: outbound ESN without a window. Asked of the kernel, not of its version: distributions backport.
    if (done || done.error().code() != EINVAL || sa.inbound || !sa.esn)
        return done;
    Message older(type);
    fill(older, sa, false);
    auto second = transact(NETLINK_XFRM, older, what);
    if (!second && second.error().code() == EINVAL)
        return done; // not a question of age: the first answer is about what was asked
    return second;
}

void decode_cipher(const Attributes& attrs, SaStatus& out) {
    const auto aead = attrs.get<AeadHead>(XFRMA_ALG_AEAD); // the head only: the key behind it stays where it is
    if (!aead)
        return;
    out.aead.assign(aead->name, strnlen(aead->name, sizeof aead->name));
    out.key_bits = aead->key_bits;
    out.icv_bits = aead->icv_bits;
}

void decode_replay(const xfrm_usersa_info& info, const Attributes& attrs, SaStatus& out) {
    out.esn = (info.flags & XFRM_STATE_ESN) != 0;
    out.replay_window = info.replay_window;
    if (const auto state = attrs.get<ReplayHead>(XFRMA_REPLAY_ESN_VAL)) {
        out.replay_window = state->window;
        out.sequence_out = static_cast<std::uint64_t>(state->oseq_hi) << 32 | state->oseq;
        out.sequence_in = static_cast<std::uint64_t>(state->seq_hi) << 32 | state->seq;
    } else if (const auto narrow = attrs.get<xfrm_replay_state>(XFRMA_REPLAY_VAL)) {
        out.sequence_out = narrow->oseq;
        out.sequence_in = narrow->seq;
    }
    out.replayed = info.stats.replay;
    out.outside_window = info.stats.replay_window;
    out.integrity_failures = info.stats.integrity_failed;
}

std::optional<SaStatus> parse_sa(const nlmsghdr& message) {
    const auto info = header_of<xfrm_usersa_info>(message);
    if (message.nlmsg_type != XFRM_MSG_NEWSA || !info)
        return std::nullopt;
    const auto attrs = Attributes::after<xfrm_usersa_info>(message);
    SaStatus out;
    out.source = from_xfrm(info->saddr, info->family);
    out.destination = from_xfrm(info->id.daddr, info->family);
    out.spi = ntohl(info->id.spi);
    out.reqid = info->reqid;
    out.protocol = info->id.proto;
    out.tunnel_mode = info->mode == XFRM_MODE_TUNNEL;
    if (const auto direction = attrs.get<std::uint8_t>(kXfrmaSaDir))
        out.inbound = *direction == kSaDirIn;
    decode_cipher(attrs, out);
    if (const auto encap = attrs.get<xfrm_encap_tmpl>(XFRMA_ENCAP))
        out.encapsulation = UdpEncapsulation{ntohs(encap->encap_sport), ntohs(encap->encap_dport)};
    decode_replay(*info, attrs, out);
    out.output_mark = attrs.get<std::uint32_t>(XFRMA_SET_MARK).value_or(0);
    // The kernel leaves the mask out when a mark was set without one, which means all bits.
    out.output_mark_mask =
        attrs.get<std::uint32_t>(XFRMA_SET_MARK_MASK).value_or(attrs.has(XFRMA_SET_MARK) ? 0xffffffff : 0);
    out.bytes = info->curlft.bytes;
    out.packets = info->curlft.packets;
    out.added = info->curlft.add_time;
    out.last_use = std::max<std::uint64_t>(info->curlft.use_time, attrs.get<std::uint64_t>(XFRMA_LASTUSED).value_or(0));
    return out;
}

} // namespace

Result<std::uint32_t> allocate_spi(const IpAddress& source, const IpAddress& destination, std::uint32_t reqid,
                                   std::uint32_t min, std::uint32_t max) {
    const std::string what = "cannot allocate an SPI for " + source.str() + " -> " + destination.str();
    xfrm_userspi_info info{};
    info.info.saddr = to_xfrm(source);
    info.info.id.daddr = to_xfrm(destination);
    info.info.id.proto = IPPROTO_ESP;
    info.info.family = static_cast<std::uint16_t>(destination.family);
    info.info.mode = XFRM_MODE_TUNNEL;
    info.info.reqid = reqid;
    info.min = min;
    info.max = max;
    Message message(XFRM_MSG_ALLOCSPI);
    // From 6.10 on a larval SA without a direction cannot be completed by one that has it.
    message.header(info).put<std::uint8_t>(kXfrmaSaDir, kSaDirIn);
    auto socket = Socket::make(NETLINK_XFRM);
    if (!socket)
        return fail(what, std::move(socket.error()));
    std::uint32_t spi = 0;
    auto done = socket->query(message, what, [&](const nlmsghdr& answer) {
        if (const auto sa = header_of<xfrm_usersa_info>(answer); sa && answer.nlmsg_type == XFRM_MSG_NEWSA)
            spi = ntohl(sa->id.spi);
    });
    if (!done)
        return tl::unexpected(std::move(done.error()));
    if (spi == 0)
        return fail(what + ": the kernel's answer has no SPI", EBADMSG);
    return spi;
}

Status add_sa(const SecurityAssociation& sa) { return install(XFRM_MSG_NEWSA, sa); }

Status complete_sa(const SecurityAssociation& sa) { return install(XFRM_MSG_UPDSA, sa); }

Status delete_sa(const SaId& id) {
    Message message(XFRM_MSG_DELSA);
    message.header(encode_id(id));
    return transact(NETLINK_XFRM, message, "cannot delete " + describe(id));
}

Result<SaStatus> query_sa(const SaId& id) {
    const std::string what = "cannot read " + describe(id);
    Message message(XFRM_MSG_GETSA);
    message.header(encode_id(id));
    auto socket = Socket::make(NETLINK_XFRM);
    if (!socket)
        return fail(what, std::move(socket.error()));
    std::optional<SaStatus> found;
    auto done = socket->query(message, what, [&](const nlmsghdr& answer) { found = parse_sa(answer); });
    if (!done)
        return tl::unexpected(std::move(done.error()));
    if (!found)
        return fail(what + ": the kernel's answer is not an SA", EBADMSG);
    return *found;
}

Result<std::vector<SaStatus>> list_sas() {
    Message message(XFRM_MSG_GETSA);
    return collect<SaStatus>(NETLINK_XFRM, message, "cannot list the SAs", parse_sa);
}

} // namespace penstock::net
