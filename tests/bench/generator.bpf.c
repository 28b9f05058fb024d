/*
 * What surrounds the gateways under test: a generator of frames (XDP, run by BPF_PROG_TEST_RUN with live frames), sinks
 * behind the gateway, empty hooks, and what stands for the kernel's XFRM, which not every kernel has.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/world.h"

char LICENSE[] SEC("license") = "GPL";

#define INLINE static __always_inline

struct bench_settings settings;
__u64 delivered; /* frames that came out of the gateway */
__u64 returned;  /* answers that reached the device's side */

const volatile __u32 mark_mask = 0x30000000;
const volatile __u32 mark_device = 0x10000000;
const volatile __u32 mark_esp = 0x20000000;
__u32 to_peer; /* 1: what is "encrypted" goes to the peer under one SPI; 0: it keeps address and ports, so as to come
                  back */

INLINE __u32 pick(__u32 random, __u32 count) { return (__u64)random * count >> 32; }

INLINE __u32 fold(__u32 sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

INLINE void write_ipv4(struct iphdr* ip, __u32 source, __u32 destination, __u32 length) {
    __u32 sum = 0x4500 + length + (64 << 8 | IPPROTO_UDP) + (source >> 16) + (source & 0xffff) + (destination >> 16) +
                (destination & 0xffff);

    *(__u16*)ip = bpf_htons(0x4500);
    ip->tot_len = bpf_htons(length);
    ip->id = 0;
    ip->frag_off = 0;
    ip->ttl = 64;
    ip->protocol = IPPROTO_UDP;
    ip->check = bpf_htons(~fold(sum));
    ip->saddr = bpf_htonl(source);
    ip->daddr = bpf_htonl(destination);
}

INLINE void write_ipv6(struct ipv6hdr* ip, __u32 device, __u32 service, __u32 length) {
    __u32 *source = (void*)&ip->saddr, *destination = (void*)&ip->daddr;

    *(__u32*)ip = bpf_htonl(0x60000000);
    ip->payload_len = bpf_htons(length);
    ip->nexthdr = IPPROTO_UDP;
    ip->hop_limit = 64;
    source[0] = bpf_htonl(0xfd200000);
    source[1] = source[2] = 0;
    source[3] = bpf_htonl(0x100 + device);
    destination[0] = bpf_htonl(0x20010db8);
    destination[1] = bpf_htonl(0x00010000 | service);
    destination[2] = 0;
    destination[3] = bpf_htonl(BENCH_SERVICE_HOST);
}

SEC("xdp")
int generate(struct xdp_md* ctx) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct bench_settings* s = &settings;
    struct ethhdr* eth = data;
    __u64 random = s->random * 6364136223846793005ULL + 1442695040888963407ULL;
    __u32 device = pick(random >> 32, s->devices), flow = pick(random, s->flows), service, mac, length = end - data;
    struct udphdr* udp;

    s->random = random;
    if (s->in_order) {
        flow = s->next % s->flows;
        device = s->next / s->flows % s->devices;
        s->next++;
    }
    service = 2 * bench_group(device % s->roles, flow);
    if (data + ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(*udp) > end)
        return XDP_DROP;
    __builtin_memcpy(eth->h_dest, s->gateway_mac, 6);
    mac = bpf_htonl(s->strangers ? (__u32)(random >> 16) | 0x80000000 : device);
    eth->h_source[0] = 2;
    eth->h_source[1] = 0;
    __builtin_memcpy(eth->h_source + 2, &mac, 4);
    if (s->ipv6) {
        eth->h_proto = bpf_htons(ETH_P_IPV6);
        length -= ETH_HLEN + sizeof(struct ipv6hdr);
        write_ipv6(data + ETH_HLEN, device, service, length);
        udp = data + ETH_HLEN + sizeof(struct ipv6hdr);
    } else {
        eth->h_proto = bpf_htons(ETH_P_IP);
        length -= ETH_HLEN;
        write_ipv4(data + ETH_HLEN, BENCH_DEVICES4 + device, BENCH_SERVICES4 + service * 256 + BENCH_SERVICE_HOST,
                   length);
        length -= sizeof(struct iphdr);
        udp = data + ETH_HLEN + sizeof(struct iphdr);
    }
    udp->source = bpf_htons(s->new_flows ? 1024 | (__u16)(random >> 13) : BENCH_SOURCE_PORT);
    udp->dest = bpf_htons(bench_port(service));
    udp->len = bpf_htons(length);
    udp->check = 0;
    return bpf_redirect(s->out_ifindex, 0);
}

INLINE int is_test_frame(struct __sk_buff* ctx) {
    return ctx->len == BENCH_FRAME && (ctx->protocol == bpf_htons(ETH_P_IP) || ctx->protocol == bpf_htons(ETH_P_IPV6));
}

/* Behind the gateway: counts and drops. */
SEC("tc")
int sink(struct __sk_buff* ctx) {
    if (!is_test_frame(ctx))
        return TC_ACT_UNSPEC;
    delivered++;
    return TC_ACT_SHOT;
}

/* Behind the gateway: counts and answers, so that conntrack takes the flow for established. */
SEC("tc")
int echo(struct __sk_buff* ctx) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct ethhdr* eth = data;
    struct udphdr* udp;
    __u8 mac[6];
    __u16 port;

    if (!is_test_frame(ctx) || data + ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(*udp) > end)
        return TC_ACT_UNSPEC;
    __builtin_memcpy(mac, eth->h_dest, 6);
    __builtin_memcpy(eth->h_dest, eth->h_source, 6);
    __builtin_memcpy(eth->h_source, mac, 6);
    if (ctx->protocol == bpf_htons(ETH_P_IP)) {
        struct iphdr* ip = data + ETH_HLEN;
        __u32 address = ip->saddr;

        ip->saddr = ip->daddr;
        ip->daddr = address;
        udp = (void*)(ip + 1);
    } else {
        struct ipv6hdr* ip = data + ETH_HLEN;
        struct in6_addr address = ip->saddr;

        ip->saddr = ip->daddr;
        ip->daddr = address;
        udp = (void*)(ip + 1);
    }
    port = udp->source;
    udp->source = udp->dest;
    udp->dest = port;
    delivered++;
    return bpf_redirect(ctx->ifindex, 0);
}

/* On the device's side: counts answers. */
SEC("tc")
int count_answer(struct __sk_buff* ctx) {
    if (!is_test_frame(ctx))
        return TC_ACT_UNSPEC;
    returned++;
    return TC_ACT_SHOT;
}

SEC("tc")
int empty(struct __sk_buff* ctx) { return TC_ACT_UNSPEC; }

SEC("xdp")
int drop_all(struct xdp_md* ctx) { return XDP_DROP; }

INLINE void set_protocol(void* ip, __u32 ipv6, __u8 from, __u8 to) {
    struct iphdr* four = ip;

    if (ipv6) {
        ((struct ipv6hdr*)ip)->nexthdr = to;
        return;
    }
    four->protocol = to;
    /* RFC 1624, eqn. 3 */
    four->check = ~fold((__u16)~four->check + (__u16)~bpf_htons(from) + bpf_htons(to));
}

/* A cipher that costs nothing: before uplink_egress it turns what a device sent into "ESP" of the SA, and marks it as
 * XFRM does (set_mark_out). */
SEC("tc")
int encrypt(struct __sk_buff* ctx) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    __u32 ipv6 = ctx->protocol == bpf_htons(ETH_P_IPV6), *word;
    void* ip = data + ETH_HLEN;

    if ((ctx->mark & mark_mask) != mark_device || ip + sizeof(struct ipv6hdr) + 8 > end)
        return TC_ACT_UNSPEC;
    ctx->mark = (ctx->mark & ~mark_mask) | mark_esp;
    if (!to_peer) {
        set_protocol(ip, ipv6, IPPROTO_TCP, IPPROTO_ESP);
        return TC_ACT_UNSPEC;
    }
    set_protocol(ip, ipv6, IPPROTO_UDP, IPPROTO_ESP);
    if (ipv6) {
        word = (void*)&((struct ipv6hdr*)ip)->daddr;
        word[0] = bpf_htonl(0x20010db8);
        word[1] = bpf_htonl(0x00020000);
        word[2] = 0;
        word[3] = bpf_htonl(2);
        word = ip + sizeof(struct ipv6hdr);
    } else {
        ((struct iphdr*)ip)->daddr = bpf_htonl(BENCH_PEER4); /* the sink looks at no checksum */
        word = ip + sizeof(struct iphdr);
    }
    *word = bpf_htonl(BENCH_SPI);
    return TC_ACT_UNSPEC;
}

/* The other end of encrypt(), without to_peer. */
SEC("tc")
int decrypt(struct __sk_buff* ctx) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    __u32 ipv6 = ctx->protocol == bpf_htons(ETH_P_IPV6);
    void* ip = data + ETH_HLEN;

    if (ip + sizeof(struct ipv6hdr) > end)
        return TC_ACT_UNSPEC;
    if ((ipv6 ? ((struct ipv6hdr*)ip)->nexthdr : ((struct iphdr*)ip)->protocol) == IPPROTO_ESP)
        set_protocol(ip, ipv6, IPPROTO_ESP, IPPROTO_TCP);
    return TC_ACT_UNSPEC;
}
