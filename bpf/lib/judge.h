/*
 * The judgement that both LAN hooks share: which flow a packet of a device belongs to, whether the policy of this
 * moment allows the flow, and whether it speaks what is required of it.
 */
#ifndef PENSTOCK_LIB_JUDGE_H
#define PENSTOCK_LIB_JUDGE_H

#include "flow.h"
#include "fragment.h"
#include "policy.h"
#include "secure.h"

/* Echo flows: who asks stands in the key where others have the remote port. */
#define ECHO_BY_DEVICE 8
#define ECHO_BY_PEER 0

struct track {
    struct flow_key key;
    __u32 generation;
    __u32 slot; /* of the device */
    __u32 block;
    __u32 now; /* flow_now() */
    /* Of what comes to the device: where it came from, ANY_TUNNEL for the TUN of all of them. Afterwards the flow's. */
    __u32 tunnel;
    __u8 out;     /* 1: the device sends */
    __u8 related; /* 1: an ICMP error, the key is of the flow it complains about */
    __u8 rule;    /* flags of the rule that allowed it, once the rules were asked */
    __u8 pad;
};
#define ANY_TUNNEL PENSTOCK_MAX_TUNNELS

INLINE int came_through(__u32 from, __u32 tunnel) {
    return from == tunnel || (from == ANY_TUNNEL && tunnel != PENSTOCK_TUNNEL_LAN);
}

/* Is the ICMP message an echo that the device asks or answers? Sets the flow's key. `out`: the device sends it. */
INLINE int echo_key(__u8 type, __be16 id, int out, struct flow_key* key) {
    int request = type == (key->six ? ICMPV6_ECHO_REQUEST : ICMP_ECHO);

    if (!request && type != (key->six ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY))
        return 0;
    key->local_port_be = FAULT(15) ? 0 : id;
    key->remote_port_be = request == out ? ECHO_BY_DEVICE : ECHO_BY_PEER;
    return 1;
}

INLINE int is_echo_reply(const struct packet* p, const struct track* t) {
    return t->key.six ? p->proto == IPPROTO_ICMPV6 && p->icmp_type == ICMPV6_ECHO_REPLY
                      : p->proto == IPPROTO_ICMP && p->icmp_type == ICMP_ECHO_REPLY;
}

/* An error quotes the packet that it complains about (RFC 792, RFC 4443): one that came the other way. */
__weak __noinline int quoted_key(struct __sk_buff* ctx, const struct packet* p, struct track* t) {
    const struct penstock_addr* device;
    struct penstock_addr source, destination;
    __be16 head[4]; /* ports; or ICMP: type and code, checksum, identifier */
    __u32 inner;

    if (!p || !t)
        return 0;
    device = t->out ? &p->source : &p->destination;
    inner = p->l4 + 8;
    if (!t->key.six) {
        struct iphdr ip;

        if (p->icmp_type != 3 && p->icmp_type != 11 && p->icmp_type != 12)
            return 0;
        if (bpf_skb_load_bytes(ctx, inner, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl != 5 ||
            bpf_ntohs(ip.frag_off) & 0x1fff || bpf_skb_load_bytes(ctx, inner + sizeof(ip), head, sizeof(head)) < 0)
            return 0;
        map_ipv4(&source, ip.saddr);
        map_ipv4(&destination, ip.daddr);
        t->key.proto = ip.protocol;
    } else {
        struct ipv6hdr ip;
        struct {
            __u8 next, pad;
            __be16 offset;
            __be32 id;
        } fragment;

        if (p->icmp_type < 1 || p->icmp_type > 4)
            return 0;
        if (bpf_skb_load_bytes(ctx, inner, &ip, sizeof(ip)) < 0 || ip.version != 6)
            return 0;
        inner += sizeof(ip);
        t->key.proto = ip.nexthdr;
        if (ip.nexthdr == IPPROTO_FRAGMENT) {
            if (bpf_skb_load_bytes(ctx, inner, &fragment, sizeof(fragment)) < 0 || fragment.offset & bpf_htons(0xfff8))
                return 0;
            inner += sizeof(fragment);
            t->key.proto = fragment.next;
        }
        if (bpf_skb_load_bytes(ctx, inner, head, sizeof(head)) < 0)
            return 0;
        __builtin_memcpy(&source, &ip.saddr, 16);
        __builtin_memcpy(&destination, &ip.daddr, 16);
    }
    /* The quoted packet went to the device if the device complains; and it complains to its sender. */
    if (!same_addr(t->out ? &destination : &source, device) ||
        (t->out && !same_addr(&source, &p->destination) && !FAULT(17)))
        return 0;
    t->key.remote = t->out ? source : destination;
    if (t->key.proto == IPPROTO_TCP || t->key.proto == IPPROTO_UDP) {
        t->key.local_port_be = head[t->out ? 1 : 0];
        t->key.remote_port_be = head[t->out ? 0 : 1];
        return 1;
    }
    return t->key.proto == (t->key.six ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
           echo_key(*(__u8*)head, head[2], !t->out, &t->key);
}

/* Which flow? 0: none, the packet stands for itself. */
INLINE int find_key(struct __sk_buff* ctx, const struct packet* p, struct track* t) {
    __be16 id;

    t->key.remote = t->out ? p->destination : p->source;
    t->key.proto = p->proto;
    if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP) {
        t->key.remote_port_be = t->out ? p->destination_port_be : p->source_port_be;
        t->key.local_port_be = t->out ? p->source_port_be : p->destination_port_be;
        return 1;
    }
    if (bpf_skb_load_bytes(ctx, p->l4 + 4, &id, sizeof(id)) == 0 && echo_key(p->icmp_type, id, t->out, &t->key))
        return 1;
    return t->related = quoted_key(ctx, p, t);
}

/* Asks the rules for the flow (for this packet, if it is none) and finds its tunnel. A drop reason, or NONE with
 * t->rule and t->tunnel. */
__weak __noinline int ask_rules(const struct packet* p, struct track* t, __u32 is_flow, __u32 from) {
    const struct penstock_device* peer;
    struct question q = {};
    int tunnel, flags;

    if (!p || !t)
        return PENSTOCK_DROP_MALFORMED;
    q.generation = t->generation;
    q.block = t->block;
    q.proto = is_flow ? t->key.proto : p->proto;
    q.from = from;
    q.six = t->key.six;
    q.peer = is_flow || t->out ? t->key.remote : p->source;
    if (!is_flow)
        q.port = p->icmp_type;
    else if (q.proto == IPPROTO_ICMP || q.proto == IPPROTO_ICMPV6)
        q.port = q.six ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
    else
        q.port = bpf_ntohs((__u32)FAULT(2) != from ? t->key.local_port_be : t->key.remote_port_be);
    peer = find_device(q.generation, &q.peer);
    if (peer) {
        q.lan = 1;
        q.peer_slot = peer->slot;
        q.peer_block = peer->block;
    }
    flags = judge_flow(&q, t->slot);
    if (flags == DENIED)
        return PENSTOCK_DROP_DENIED;
    if (flags < 0)
        return PENSTOCK_DROP_NOT_ALLOWED;
    tunnel = q.lan ? PENSTOCK_TUNNEL_LAN : tunnel_for(&q.peer);
    if (tunnel < 0)
        return PENSTOCK_DROP_NO_TUNNEL;
    if (!t->out && !came_through(t->tunnel, tunnel))
        return PENSTOCK_DROP_NO_FLOW;
    t->tunnel = tunnel;
    t->rule = flags;
    return PENSTOCK_DROP_NONE;
}

/* DNS, NTP and DHCP of the gateway on the device's LAN: no flow, no tunnel. */
INLINE int judge_for_gateway(const struct packet* p, const struct track* t) {
    const struct penstock_block* block = find_block(t->generation, t->block);
    __u16 port = bpf_ntohs(p->destination_port_be);
    __u8 lan = block ? block->lan : 0;

    if (p->proto == IPPROTO_UDP && ((port == 53 && lan & PENSTOCK_LAN_DNS) || (port == 123 && lan & PENSTOCK_LAN_NTP) ||
                                    (port == (t->key.six ? 547 : 67) && lan & PENSTOCK_LAN_DHCP)))
        return PENSTOCK_DROP_NONE;
    return p->proto == IPPROTO_TCP && port == 53 && lan & PENSTOCK_LAN_DNS ? PENSTOCK_DROP_NONE
                                                                           : PENSTOCK_DROP_NOT_ALLOWED;
}

#define WITH(meta, name, bits, value)                                                                                  \
    (((meta) & ~(((1ULL << (bits)) - 1) << PENSTOCK_FLOW_##name)) | (__u64)(value) << PENSTOCK_FLOW_##name)

/* A drop reason. Global, so that the verifier walks it once. */
__weak __noinline int judge_packet(struct __sk_buff* ctx, const struct packet* p, struct track* t) {
    struct flow_view view = {};
    int is_flow, known, changed = 0, from, reason;
    __u32 secure;
    __u64 meta;

    if (!p || !t)
        return PENSTOCK_DROP_MALFORMED;
    if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != (t->key.six ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
        return t->out ? PENSTOCK_DROP_NOT_ALLOWED : PENSTOCK_DROP_NO_FLOW;
    is_flow = find_key(ctx, p, t);
    known = is_flow && flow_find(t->slot, &t->key, t->now, &view);
    /* An error out of a tunnel about a flow between devices is none about it. */
    if (known && t->related && !t->out && !came_through(t->tunnel, FIELD(view.meta, TUNNEL, 5)))
        known = 0;
    /* Answers and errors begin no flow: what belongs to none stands for itself. */
    if (!known && (t->related || is_echo_reply(p, t))) {
        is_flow = t->related = 0;
        t->key.remote = t->out ? p->destination : p->source;
    }
    from = known ? (int)FIELD(view.meta, FROM, 1) ^ FAULT(4) : !t->out;
    /* A SYN alone is never an answer: it begins a connection of its own. */
    if (known && !t->related && p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
        from == t->out && !FAULT(8)) {
        from = !from;
        changed = 1;
    }
    meta = known ? view.meta : 0;
    secure = changed ? 0 : FIELD(meta, SECURE, 3);
    if (known && !changed && (FIELD(meta, GENERATION, 20) == (t->generation & 0xfffff) || FAULT(3))) {
        if (!t->out && !came_through(t->tunnel, FIELD(meta, TUNNEL, 5)))
            return PENSTOCK_DROP_NO_FLOW;
        t->tunnel = FIELD(meta, TUNNEL, 5);
    } else {
        if (t->out && !known && is_host_address(ctx->ifindex, &t->key.remote)) {
            t->tunnel = PENSTOCK_TUNNEL_LAN;
            return judge_for_gateway(p, t);
        }
        reason = ask_rules(p, t, is_flow, from);
        if (reason == PENSTOCK_DROP_NOT_ALLOWED && !t->out && (!known || changed))
            return PENSTOCK_DROP_NO_FLOW;
        if (reason != PENSTOCK_DROP_NONE)
            return reason;
        if (t->rule & (t->key.proto == IPPROTO_TCP ? PENSTOCK_RULE_TLS : PENSTOCK_RULE_DTLS) && is_flow)
            secure |= PENSTOCK_SECURE_WANTED;
        else
            secure = 0;
        meta = WITH(meta, GENERATION, 20, t->generation & 0xfffff);
        meta = WITH(meta, TUNNEL, 5, t->tunnel);
        meta = WITH(meta, FROM, 1, from);
    }
    if (t->out && t->tunnel != PENSTOCK_TUNNEL_LAN && !tunnel_up(t->tunnel))
        return PENSTOCK_DROP_TUNNEL_DOWN;
    if (secure && !t->related) {
        secure = secure_next(ctx, p, secure, from != t->out || FAULT(11));
        if (!secure)
            return PENSTOCK_DROP_NOT_TLS;
    }
    if (!is_flow)
        return PENSTOCK_DROP_NONE;
    meta = WITH(meta, SECURE, 3, secure);
    if (!known)
        flow_insert(t->slot, &t->key, meta, t->now);
    else if (meta != view.meta)
        flow_change(t->slot, t->key.six, &view, meta);
    return PENSTOCK_DROP_NONE;
}

/* A later fragment: only behind its first one. `end`: see struct fragment_key. */
INLINE void fragment_name(const struct packet* p, const struct track* t, __u16 end, struct fragment_key* k) {
    k->remote = t->out ? p->destination : p->source;
    k->local = t->out ? p->source : p->destination;
    k->id = p->fragment_id;
    k->end = end;
    k->proto = p->proto;
    k->in = !t->out;
    k->six = t->key.six;
}

__weak __noinline int judge_later_fragment(const struct packet* p, struct track* t) {
    struct fragment_key k = {};
    int tunnel;

    if (!p || !t)
        return PENSTOCK_DROP_MALFORMED;
    fragment_name(p, t, p->fragment_offset, &k);
    if (!fragment_find(t->slot, &k, t->generation, t->now) && !FAULT(10))
        return PENSTOCK_DROP_FRAGMENT;
    if (find_device(t->generation, &k.remote))
        tunnel = PENSTOCK_TUNNEL_LAN;
    else
        tunnel = tunnel_for(&k.remote);
    if (tunnel < 0)
        return PENSTOCK_DROP_NO_TUNNEL;
    if (!t->out)
        return came_through(t->tunnel, tunnel) ? PENSTOCK_DROP_NONE : PENSTOCK_DROP_NO_FLOW;
    return tunnel == PENSTOCK_TUNNEL_LAN || tunnel_up(tunnel) ? PENSTOCK_DROP_NONE : PENSTOCK_DROP_TUNNEL_DOWN;
}

__weak __noinline int note_first_fragment(const struct packet* p, const struct track* t) {
    struct fragment_key k = {};

    if (!p || !t)
        return 0;
    fragment_name(p, t, p->fragment_end, &k);
    return fragment_insert(t->slot, &k, t->generation, t->now);
}

/* Headers behind the first one, and fragments. A drop reason. */
INLINE int judge_headers(struct __sk_buff* ctx, struct packet* p) {
    int reason;

    if (p->ethertype == ETH_P_IPV6 && (p->options || p->fragment)) {
        reason = walk_extensions(ctx, p);
        if (reason != PENSTOCK_DROP_NONE)
            return reason;
    } else if (p->options) {
        return PENSTOCK_DROP_IP_OPTIONS;
    }
    /* All fragments but the last hold a multiple of 8 bytes: else a later one could overlap what was judged. */
    if (p->fragment && !p->later && p->fragment_odd)
        return PENSTOCK_DROP_FRAGMENT;
    return PENSTOCK_DROP_NONE;
}

#endif
