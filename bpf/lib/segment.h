/* How large the segments of a connection may be. Both ends say it once, in their SYN (RFC 9293, 3.7.1), and know
 * nothing of the tunnel in between. The ICMP errors that would tell them are lost in many networks, and ignored by many
 * devices. */
#ifndef PENSTOCK_LIB_SEGMENT_H
#define PENSTOCK_LIB_SEGMENT_H

#include "policy.h"

#define TCP_HEADER 20
#define TCP_OPTIONS 40 /* at most, bytes */
#define TCP_CHECKSUM 16
#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_MSS 2

/* The checksum adds up words: of a value that does not begin with one, the bytes change places. */
INLINE __u32 in_words(__be16 value, __u32 at) { return at & 1 ? (__u16)(value << 8 | value >> 8) : value; }

struct option_walk {
    struct __sk_buff* ctx;
    __u32 tcp;   /* offset of the TCP header */
    __u32 at;    /* of the next option, in it */
    __u32 end;   /* of the options */
    __u32 limit; /* the largest segment */
};

/* One option. bpf_loop() has the verifier look at it once, where a loop costs it minutes. 1: no more of them. */
static long limit_option(__attribute__((unused)) __u32 number, struct option_walk* walk) {
    struct {
        __u8 kind, length;
        __be16 mss;
    } option;
    __be16 wanted = bpf_htons(walk->limit);
    __u32 value = walk->at + 2;

    if (walk->at + sizeof(option) > walk->end ||
        bpf_skb_load_bytes(walk->ctx, walk->tcp + walk->at, &option, sizeof(option)) < 0 || option.kind == OPTION_END)
        return 1;
    if (option.kind == OPTION_MSS) {
        if (option.length == sizeof(option) && bpf_ntohs(option.mss) > walk->limit) {
            bpf_l4_csum_replace(walk->ctx, walk->tcp + TCP_CHECKSUM, in_words(option.mss, value),
                                in_words(wanted, value), sizeof(wanted));
            bpf_skb_store_bytes(walk->ctx, walk->tcp + value, &wanted, sizeof(wanted), 0);
        }
        return 1;
    }
    if (option.kind != OPTION_NOTHING && option.length < 2)
        return 1;
    walk->at += option.kind == OPTION_NOTHING ? 1 : option.length;
    return 0;
}

/* The SYN announces `limit` where it announces more. What cannot be understood is left as it is. */
__weak __noinline int limit_mss(struct __sk_buff* ctx, const struct packet* p, __u32 limit) {
    struct option_walk walk = {.ctx = ctx, .at = TCP_HEADER, .limit = limit};

    if (!p)
        return 0;
    walk.tcp = p->l4;
    walk.end = p->tcp_words * 4;
    return (int)bpf_loop(TCP_OPTIONS, limit_option, &walk, 0);
}

/* For what passes: a connection between a device and something behind a tunnel. Afterwards the packet must be read
 * anew. */
INLINE void fit_segments(struct __sk_buff* ctx, const struct packet* p, __u32 tunnel) {
    const struct penstock_tunnel* t;
    __u32 headers = TCP_HEADER + (p->ethertype == ETH_P_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));

    if (p->proto != IPPROTO_TCP || p->fragment || !(p->tcp_flags & TCP_SYN))
        return;
    t = bpf_map_lookup_elem(&tunnels, &tunnel);
    if (t && t->mtu > headers)
        limit_mss(ctx, p, t->mtu - headers);
}

#endif
