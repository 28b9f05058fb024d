/* What one frame says about itself: Ethernet, IPv4 or IPv6, TCP or UDP ports. Everything at a constant offset; what
 * stands behind IPv6 extension headers is walked to on demand (walk_extensions), IPv4 options are only reported. */
#ifndef PENSTOCK_LIB_PACKET_H
#define PENSTOCK_LIB_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../penstock_abi.h"

#define INLINE static __always_inline

/* Types of ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861); linux/icmp.h drags in half of libc. */
#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define ND_ROUTER_SOLICIT 133
#define ND_NEIGHBOR_SOLICIT 135
#define ND_NEIGHBOR_ADVERT 136
#define ND_REDIRECT 137

/* PPP (RFC 1332, RFC 5072) */
#define PPP_IP 0x21
#define PPP_IPV6 0x57

struct packet {
    struct penstock_addr source;
    struct penstock_addr destination;
    __u16 source_port_be;
    __u16 destination_port_be;
    __u16 ethertype; /* host byte order */
    __u8 proto;      /* IPPROTO_*, of the innermost header looked at */
    __u8 fragment;   /* 1: a fragment; its ports are set only in the first one */
    __u8 later;      /* 1: not the first fragment */
    __u8 options;    /* 1: IPv4 options or an IPv6 extension header */
    __u8 hop_limit;
    __u8 icmp_type;
    __u32 l4; /* offset of the transport header */
    __u8 mac[6];
    __u16 l4_len;          /* what the IP header says follows it; the frame may be padded */
    __u32 fragment_id;     /* as on the wire; IPv4: 16 bits */
    __u16 fragment_offset; /* units of 8 bytes */
    __u16 fragment_end;    /* of a first fragment: where it ends, units of 8 bytes */
    __u8 tcp_flags;
    __u8 tcp_words;    /* length of the TCP header, units of 4 bytes */
    __u8 fragment_odd; /* 1: a fragment whose length is no multiple of 8 */
};

#define TCP_SYN 0x02
#define TCP_ACK 0x10

INLINE int same_addr(const struct penstock_addr* a, const struct penstock_addr* b) {
    const __u64 *x = (const void*)a, *y = (const void*)b;
    return x[0] == y[0] && x[1] == y[1];
}

INLINE int is_mapped(const struct penstock_addr* a) {
    const __u32* word = (const void*)a;

    return word[0] == 0 && word[1] == 0 && word[2] == bpf_htonl(0xffff);
}

INLINE void map_ipv4(struct penstock_addr* out, __be32 address) {
    __u32* word = (void*)out;
    word[0] = 0;
    word[1] = 0;
    word[2] = bpf_htonl(0xffff);
    word[3] = address;
}

/* Makes the first `want` bytes readable directly, or as many as the frame has. */
INLINE void make_linear(struct __sk_buff* ctx, __u32 want) {
    __u32 have = ctx->data_end - ctx->data;

    if (have < want && have < ctx->len) /* a short frame that is linear has nothing to be pulled */
        bpf_skb_pull_data(ctx, ctx->len < want ? ctx->len : want);
}

/* Reads an IP header at `l3` (a constant) and what follows. Returns a drop reason, NONE if the packet can be judged. */
INLINE __u8 parse_ipv4(struct __sk_buff* ctx, __u32 l3, struct packet* p) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct iphdr* ip = data + l3;
    __u16 offset;

    if ((void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
        return PENSTOCK_DROP_MALFORMED;
    if (bpf_ntohs(ip->tot_len) < ip->ihl * 4 || l3 + bpf_ntohs(ip->tot_len) > ctx->len)
        return PENSTOCK_DROP_MALFORMED;
    map_ipv4(&p->source, ip->saddr);
    map_ipv4(&p->destination, ip->daddr);
    p->proto = ip->protocol;
    p->hop_limit = ip->ttl;
    offset = bpf_ntohs(ip->frag_off);
    p->fragment = (offset & 0x3fff) != 0;
    p->later = (offset & 0x1fff) != 0;
    p->fragment_offset = offset & 0x1fff;
    p->fragment_id = ip->id;
    p->options = ip->ihl != 5;
    p->l4 = l3 + sizeof(*ip);
    p->l4_len = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
    p->fragment_end = p->l4_len >> 3;
    p->fragment_odd = p->l4_len & 7 ? 1 : 0;
    return PENSTOCK_DROP_NONE;
}

INLINE __u8 parse_ipv6(struct __sk_buff* ctx, __u32 l3, struct packet* p) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct ipv6hdr* ip = data + l3;

    if ((void*)(ip + 1) > end || ip->version != 6)
        return PENSTOCK_DROP_MALFORMED;
    if (l3 + sizeof(*ip) + bpf_ntohs(ip->payload_len) > ctx->len)
        return PENSTOCK_DROP_MALFORMED;
    __builtin_memcpy(&p->source, &ip->saddr, 16);
    __builtin_memcpy(&p->destination, &ip->daddr, 16);
    /* On a wire there is no such address (RFC 4291, 2.5.5.2), in our maps it is IPv4's. */
    if (is_mapped(&p->source) || is_mapped(&p->destination))
        return PENSTOCK_DROP_MALFORMED;
    p->proto = ip->nexthdr;
    p->hop_limit = ip->hop_limit;
    p->l4 = l3 + sizeof(*ip);
    p->l4_len = bpf_ntohs(ip->payload_len);
    switch (p->proto) {
    case IPPROTO_FRAGMENT:
        p->fragment = 1;
        break;
    case IPPROTO_HOPOPTS:
    case IPPROTO_ROUTING:
    case IPPROTO_DSTOPTS:
    case IPPROTO_AH:
    case IPPROTO_NONE:
        p->options = 1;
        break;
    }
    return PENSTOCK_DROP_NONE;
}

/* Ports of TCP and UDP, type of ICMP. `l4` is a constant: nothing when the header is elsewhere. */
INLINE __u8 parse_transport(struct __sk_buff* ctx, __u32 l4, struct packet* p) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    __be16* word = data + l4;

    if (p->later || p->options || (p->fragment && p->ethertype == ETH_P_IPV6))
        return PENSTOCK_DROP_NONE;
    switch (p->proto) {
    case IPPROTO_TCP:
        if (p->l4_len < 20 || (void*)word + 20 > end)
            return PENSTOCK_DROP_MALFORMED;
        p->tcp_words = *((__u8*)word + 12) >> 4;
        p->tcp_flags = *((__u8*)word + 13);
        if (p->tcp_words < 5 || p->tcp_words * 4 > p->l4_len)
            return PENSTOCK_DROP_MALFORMED;
        break;
    case IPPROTO_UDP:
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        if (p->l4_len < 8 || (void*)word + 8 > end)
            return PENSTOCK_DROP_MALFORMED;
        break;
    default:
        return PENSTOCK_DROP_NONE;
    }
    if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
        p->icmp_type = *(__u8*)word;
    } else {
        p->source_port_be = word[0];
        p->destination_port_be = word[1];
    }
    return PENSTOCK_DROP_NONE;
}

/* The IP packet behind an L2 header of `l2` bytes (0 or 14, constant); p->ethertype is set. */
INLINE __u8 parse_ip(struct __sk_buff* ctx, __u32 l2, struct packet* p) {
    __u8 reason;

    if (p->ethertype == ETH_P_IP) {
        reason = parse_ipv4(ctx, l2, p);
        if (reason == PENSTOCK_DROP_NONE)
            reason = parse_transport(ctx, l2 + sizeof(struct iphdr), p);
        return reason;
    }
    reason = parse_ipv6(ctx, l2, p);
    if (reason == PENSTOCK_DROP_NONE)
        reason = parse_transport(ctx, l2 + sizeof(struct ipv6hdr), p);
    return reason;
}

#define MAX_EXTENSIONS 8

/* One extension header at p->l4 (RFC 8200, 4): steps over it. NONE and *done = 0 if there may be more. */
INLINE __u8 step_extension(struct __sk_buff* ctx, struct packet* p, int* done) {
    struct {
        __u8 next, length;
        __be16 offset;
        __be32 id;
    } header;
    __u32 size;

    *done = 1;
    if (p->proto != IPPROTO_HOPOPTS && p->proto != IPPROTO_DSTOPTS && p->proto != IPPROTO_FRAGMENT)
        return PENSTOCK_DROP_NONE;
    if (p->l4_len < sizeof(header) || bpf_skb_load_bytes(ctx, p->l4, &header, sizeof(header)) < 0)
        return PENSTOCK_DROP_MALFORMED;
    size = p->proto == IPPROTO_FRAGMENT ? 8 : (header.length + 1) * 8;
    if (p->l4_len < size)
        return PENSTOCK_DROP_MALFORMED;
    if (p->proto == IPPROTO_FRAGMENT) {
        if (p->fragment)
            return PENSTOCK_DROP_MALFORMED;
        p->fragment_id = header.id;
        p->fragment_offset = bpf_ntohs(header.offset) >> 3;
        p->fragment = (header.offset & bpf_htons(0xfff9)) != 0; /* 0: whole after all (RFC 6946) */
        p->later = p->fragment_offset != 0;
        if (p->fragment && !p->later)
            p->fragment_end = (p->l4_len - size) >> 3;
        p->fragment_odd = (p->l4_len - size) & 7 ? 1 : 0;
    }
    p->proto = header.next;
    p->l4 += size;
    p->l4_len -= size;
    *done = p->later;
    return PENSTOCK_DROP_NONE;
}

INLINE __u8 load_transport(struct __sk_buff* ctx, struct packet* p) {
    __u8 head[20];
    __be16* port = (void*)head;

    if (p->proto == IPPROTO_TCP) {
        if (p->l4_len < 20 || bpf_skb_load_bytes(ctx, p->l4, head, 20) < 0)
            return PENSTOCK_DROP_MALFORMED;
        p->tcp_words = head[12] >> 4;
        p->tcp_flags = head[13];
        if (p->tcp_words < 5 || p->tcp_words * 4 > p->l4_len)
            return PENSTOCK_DROP_MALFORMED;
    } else if (p->proto == IPPROTO_UDP || p->proto == IPPROTO_ICMPV6) {
        if (p->l4_len < 8 || bpf_skb_load_bytes(ctx, p->l4, head, 8) < 0)
            return PENSTOCK_DROP_MALFORMED;
    } else {
        return PENSTOCK_DROP_IP_OPTIONS;
    }
    if (p->proto == IPPROTO_ICMPV6) {
        p->icmp_type = head[0];
    } else {
        p->source_port_be = port[0];
        p->destination_port_be = port[1];
    }
    return PENSTOCK_DROP_NONE;
}

/* Walks from the first extension header, where parse_ip stopped, to the transport header, or to the rest of a later
 * fragment. Routing and authentication headers are not stepped over: nothing behind them is allowed. A drop reason. */
__weak __noinline int walk_extensions(struct __sk_buff* ctx, struct packet* p) {
    __u8 reason;
    int done = 0;

    if (!p)
        return PENSTOCK_DROP_MALFORMED;
    p->fragment = p->options = 0;
    for (int i = 0; i < MAX_EXTENSIONS && !done; i++) {
        reason = step_extension(ctx, p, &done);
        if (reason != PENSTOCK_DROP_NONE)
            return reason;
    }
    if (!done)
        return PENSTOCK_DROP_IP_OPTIONS;
    return p->later ? PENSTOCK_DROP_NONE : load_transport(ctx, p);
}

/* Ethernet: source MAC and ethertype. */
INLINE __u8 parse_ethernet(struct __sk_buff* ctx, struct packet* p) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct ethhdr* eth = data;

    if ((void*)(eth + 1) > end)
        return PENSTOCK_DROP_MALFORMED;
    __builtin_memcpy(p->mac, eth->h_source, 6);
    p->ethertype = bpf_ntohs(eth->h_proto);
    if (ctx->vlan_present || p->ethertype == ETH_P_8021Q || p->ethertype == ETH_P_8021AD)
        return PENSTOCK_DROP_VLAN;
    return PENSTOCK_DROP_NONE;
}

/* Or broadcast, or a destination that is none: 0.0.0.0/8, 224.0.0.0/4, 240.0.0.0/4 (with 255.255.255.255), ff00::/8. */
INLINE int is_multicast(const struct packet* p) {
    const __u8* d = p->destination.bytes;

    if (p->ethertype == ETH_P_IP)
        return d[12] >= 224 || d[12] == 0;
    return d[0] == 0xff;
}

/* RFC 826 for Ethernet and IPv4. */
struct arp_packet {
    __be16 hardware, protocol;
    __u8 hardware_len, protocol_len;
    __be16 operation;
    __u8 sender_mac[6];
    __u8 sender_ip[4];
    __u8 target_mac[6];
    __u8 target_ip[4];
} __attribute__((packed));

/* Behind an L2 header of `l2` bytes (a constant). */
INLINE const struct arp_packet* parse_arp(struct __sk_buff* ctx, __u32 l2, struct packet* p) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    const struct arp_packet* arp = data + l2;
    __u32 address;

    if ((void*)(arp + 1) > end || arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
        arp->hardware_len != 6 || arp->protocol_len != 4)
        return NULL;
    __builtin_memcpy(&address, arp->sender_ip, 4);
    map_ipv4(&p->source, address);
    __builtin_memcpy(&address, arp->target_ip, 4);
    map_ipv4(&p->destination, address);
    return arp;
}

#endif
