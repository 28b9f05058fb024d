/*
 * Layer 5: looks at every frame that is handed to a driver, after all other layers, and stops nothing by itself. A
 * frame of a device in clear latches the gate: from then on layers 1 and 4 forward nothing until an operator clears it,
 * whether or not any process is alive.
 *
 * Judges by addresses and SPIs of headers, never by marks, which others can set, nor by payload, which offload leaves
 * readable. Loopback, LAN ports and the agent's TUN are not its business, other network namespaces neither: the
 * tracepoint is the whole machine's. Frames sent with PACKET_QDISC_BYPASS do not come by here.
 */
#include "lib/guarded.h"

#define ARPHRD_ETHER 1
#define ARPHRD_PPP 512
#define ARPHRD_RAWIP 519
#define ARPHRD_LOOPBACK 772
#define ARPHRD_NONE 0xfffe

#define PORT_IKE 500
#define PORT_NATT 4500

/* What we read of the kernel's own structures; libbpf finds the offsets in the BTF of the running kernel. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
    unsigned int inum;
};
struct net {
    struct ns_common ns;
};
typedef struct {
    struct net* net;
} possible_net_t;
struct net_device {
    int ifindex;
    unsigned short type;
    possible_net_t nd_net;
};
struct sk_buff {
    unsigned int len, data_len;
    unsigned char* data;
    int skb_iif; /* where a forwarded packet came in; 0: the gateway's own */
};
#pragma clang attribute pop

struct frame {
    const __u8* data;
    __u32 length; /* of what is readable at data */
    __u32 ifindex;
    __u32 ip; /* offset of the IP header */
    __u8 forwarded;
    __u8 uplink;
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, PENSTOCK_SEEN_KINDS);
    __type(key, __u32);
    __type(value, __u64);
} witness_counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct penstock_sighting);
} witness_first SEC(".maps");

INLINE int load(const struct frame* f, __u32 offset, void* to, __u32 size) {
    if (offset + size > f->length)
        return -1;
    return bpf_probe_read_kernel(to, size, f->data + offset);
}

/* An outbound SA; SPI 0: a peer. */
INLINE int is_ours(const struct packet* p, __be32 spi) {
    struct penstock_sa_key key = {.destination = p->destination, .spi_be = spi};

    return bpf_map_lookup_elem(&sas, &key) != NULL;
}

INLINE enum penstock_seen judge_esp(const struct frame* f, const struct packet* p, __u32 offset) {
    __be32 spi;

    if (load(f, offset, &spi, sizeof(spi)) < 0 || spi == 0)
        return PENSTOCK_SEEN_CLEAR;
    return is_ours(p, spi) ? PENSTOCK_SEEN_ESP : PENSTOCK_SEEN_CLEAR;
}

/* An error that tells a stranger of a device's packet (RFC 792, RFC 4443). */
INLINE int quotes_guarded(const struct frame* f, const struct packet* p) {
    struct penstock_addr from, to;

    if (p->proto == IPPROTO_ICMP && p->ethertype == ETH_P_IP) {
        struct iphdr ip;

        if (p->icmp_type != 3 && p->icmp_type != 5 && p->icmp_type != 11 && p->icmp_type != 12)
            return 0;
        if (load(f, p->l4 + 8, &ip, sizeof(ip)) < 0)
            return 1;
        map_ipv4(&from, ip.saddr);
        map_ipv4(&to, ip.daddr);
    } else if (p->proto == IPPROTO_ICMPV6 && p->icmp_type >= 1 && p->icmp_type <= 4) {
        struct ipv6hdr ip;

        if (load(f, p->l4 + 8, &ip, sizeof(ip)) < 0)
            return 1;
        __builtin_memcpy(&from, &ip.saddr, sizeof(from));
        __builtin_memcpy(&to, &ip.daddr, sizeof(to));
    } else if (p->proto == IPPROTO_ICMPV6 && p->icmp_type >= ND_NEIGHBOR_SOLICIT && p->icmp_type <= ND_REDIRECT) {
        if (load(f, p->l4 + 8, &to, sizeof(to)) < 0)
            return 1;
        from = to;
    } else {
        return 0;
    }
    return is_guarded(&from) || is_guarded(&to);
}

INLINE enum penstock_seen judge_ip(const struct frame* f, struct packet* p) {
    __be16 port;
    __be32 word;

    if (is_guarded(&p->source))
        return PENSTOCK_SEEN_CLEAR; /* also where it looks like ESP: then a device made it */
    if (p->proto == IPPROTO_ESP && !p->later)
        return f->uplink ? judge_esp(f, p, p->l4) : PENSTOCK_SEEN_HOST;
    if (is_guarded(&p->destination))
        return PENSTOCK_SEEN_CLEAR;
    if (is_ours(p, 0)) {
        if (p->later)
            return PENSTOCK_SEEN_ESP;
        if (p->proto == IPPROTO_UDP && load(f, p->l4, &port, sizeof(port)) == 0) {
            if (port == bpf_htons(PORT_IKE))
                return PENSTOCK_SEEN_IKE;
            if (port == bpf_htons(PORT_NATT))
                return load(f, p->l4 + 8, &word, sizeof(word)) < 0 || word == 0 ? PENSTOCK_SEEN_IKE
                                                                                : judge_esp(f, p, p->l4 + 8);
        }
    }
    if (f->forwarded && f->uplink)
        return PENSTOCK_SEEN_CLEAR; /* whatever address it has been given on the way */
    if (!p->later && load(f, p->l4, &p->icmp_type, 1) == 0 && quotes_guarded(f, p))
        return PENSTOCK_SEEN_CLEAR;
    return PENSTOCK_SEEN_HOST;
}

INLINE enum penstock_seen judge_ipv4(const struct frame* f, struct packet* p) {
    struct iphdr ip;

    if (load(f, f->ip, &ip, sizeof(ip)) < 0 || ip.version != 4)
        return PENSTOCK_SEEN_CLEAR;
    map_ipv4(&p->source, ip.saddr);
    map_ipv4(&p->destination, ip.daddr);
    p->ethertype = ETH_P_IP;
    p->proto = ip.protocol;
    p->later = (bpf_ntohs(ip.frag_off) & 0x1fff) != 0;
    p->l4 = f->ip + ip.ihl * 4;
    return judge_ip(f, p);
}

INLINE enum penstock_seen judge_ipv6(const struct frame* f, struct packet* p) {
    struct ipv6hdr ip;
    __u8 fragment[8];

    if (load(f, f->ip, &ip, sizeof(ip)) < 0 || ip.version != 6)
        return PENSTOCK_SEEN_CLEAR;
    __builtin_memcpy(&p->source, &ip.saddr, 16);
    __builtin_memcpy(&p->destination, &ip.daddr, 16);
    p->ethertype = ETH_P_IPV6;
    p->proto = ip.nexthdr;
    p->l4 = f->ip + sizeof(ip);
    if (p->proto == IPPROTO_FRAGMENT) {
        if (load(f, p->l4, fragment, sizeof(fragment)) < 0)
            return PENSTOCK_SEEN_CLEAR;
        p->proto = fragment[0];
        p->later = fragment[2] != 0 || (fragment[3] & 0xf8) != 0;
        p->l4 += sizeof(fragment);
    }
    return judge_ip(f, p);
}

INLINE enum penstock_seen judge_arp(const struct frame* f, struct packet* p) {
    struct arp_packet arp;
    __u32 address;

    p->ethertype = ETH_P_ARP;
    if (load(f, f->ip, &arp, sizeof(arp)) < 0)
        return PENSTOCK_SEEN_HOST; /* an address does not fit in */
    __builtin_memcpy(&address, arp.sender_ip, 4);
    map_ipv4(&p->source, address);
    __builtin_memcpy(&address, arp.target_ip, 4);
    map_ipv4(&p->destination, address);
    return is_guarded(&p->source) || is_guarded(&p->destination) ? PENSTOCK_SEEN_CLEAR : PENSTOCK_SEEN_HOST;
}

/* The ethertype behind at most two VLAN tags and a PPPoE header; f->ip is set. */
INLINE __u16 find_ip(struct frame* f) {
    __be16 type = 0;
    __u16 protocol;

    f->ip = ETH_HLEN;
    load(f, 12, &type, sizeof(type));
    for (int i = 0; i < 2 && (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)); i++) {
        load(f, f->ip + 2, &type, sizeof(type));
        f->ip += 4;
    }
    if (type != bpf_htons(ETH_P_PPP_SES) || load(f, f->ip + 6, &protocol, sizeof(protocol)) < 0)
        return bpf_ntohs(type);
    f->ip += 8;
    return protocol == bpf_htons(PPP_IP) ? ETH_P_IP : protocol == bpf_htons(PPP_IPV6) ? ETH_P_IPV6 : 0;
}

INLINE enum penstock_seen judge(struct frame* f, __u16 arphrd, struct packet* p) {
    __u8 version = 0;

    switch (arphrd) {
    case ARPHRD_ETHER:
        p->ethertype = find_ip(f);
        load(f, 6, p->mac, sizeof(p->mac));
        break;
    case ARPHRD_NONE:
    case ARPHRD_RAWIP:
    case ARPHRD_PPP:
        f->ip = 0;
        load(f, 0, &version, 1);
        p->ethertype = version >> 4 == 4 ? ETH_P_IP : version >> 4 == 6 ? ETH_P_IPV6 : 0;
        break;
    default:
        return PENSTOCK_SEEN_HOST; /* layer 4 lets nothing out where it does not know the frames */
    }
    switch (p->ethertype) {
    case ETH_P_IP:
        return judge_ipv4(f, p);
    case ETH_P_IPV6:
        return judge_ipv6(f, p);
    case ETH_P_ARP:
        return judge_arp(f, p);
    }
    return f->forwarded && f->uplink ? PENSTOCK_SEEN_CLEAR : PENSTOCK_SEEN_HOST;
}

/* The first frame is kept; whoever closes the latch writes it. */
INLINE void latch_gate(const struct frame* f, const struct packet* p) {
    __u32 entry = PENSTOCK_GATE_LATCH, zero = 0;
    __u32* latch = bpf_map_lookup_elem(&gate, &entry);
    struct penstock_sighting* first;

    if (!latch || __sync_val_compare_and_swap(latch, 0, 1) != 0)
        return;
    first = bpf_map_lookup_elem(&witness_first, &zero);
    if (!first)
        return;
    first->time_ns = bpf_ktime_get_ns();
    first->source = p->source;
    first->destination = p->destination;
    __builtin_memcpy(first->mac, p->mac, sizeof(first->mac));
    first->ethertype = p->ethertype;
    first->ifindex = f->ifindex;
    first->proto = p->proto;
    first->forwarded = f->forwarded;
}

/* What a kernel says of its own addresses on a link, and no data: ARP, IGMP, MLD, neighbour discovery. Where it is no
 * uplink, the gateway may have one beside the devices: of a bridge that becomes their LAN. */
INLINE int is_of_the_link(const struct packet* p) {
    return p->ethertype == ETH_P_ARP || p->proto == IPPROTO_IGMP || p->proto == IPPROTO_HOPOPTS ||
           (p->proto == IPPROTO_ICMPV6 && p->icmp_type >= ND_ROUTER_SOLICIT && p->icmp_type <= ND_NEIGHBOR_ADVERT);
}

SEC("tp_btf/net_dev_start_xmit")
int witness(__u64* ctx) {
    const struct sk_buff* skb = (const void*)ctx[0];
    const struct net_device* dev = (const void*)ctx[1];
    struct frame f = {};
    struct packet p = {};
    const struct penstock_link* link;
    __u32 netns = gate_entry(PENSTOCK_GATE_WITNESSED_NETNS), kind;
    __u64* count;

    if (netns == 0 || dev->nd_net.net->ns.inum != netns || dev->type == ARPHRD_LOOPBACK)
        return 0;
    f.ifindex = dev->ifindex;
    link = bpf_map_lookup_elem(&links, &f.ifindex);
    if (link && (link->role == PENSTOCK_LINK_LAN || link->role == PENSTOCK_LINK_TUNNEL))
        return 0;
    f.uplink = link && (link->role == PENSTOCK_LINK_UPLINK || link->role == PENSTOCK_LINK_CARRIER);
    f.forwarded = skb->skb_iif != 0;
    f.data = skb->data;
    f.length = skb->len - skb->data_len;
    kind = judge(&f, dev->type, &p);
    if (kind == PENSTOCK_SEEN_CLEAR && !f.uplink && !f.forwarded && is_of_the_link(&p))
        kind = PENSTOCK_SEEN_HOST;
    count = bpf_map_lookup_elem(&witness_counts, &kind);
    if (count)
        (*count)++;
    if (kind == PENSTOCK_SEEN_CLEAR)
        latch_gate(&f, &p);
    return 0;
}
