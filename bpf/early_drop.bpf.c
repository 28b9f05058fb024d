/*
 * Before layer 1, in the driver (XDP): frames from a MAC address that no device of the policy has, before the kernel
 * makes packets of them. No layer of the gate: lan_ingress drops them whatever else there is to know. One read of the
 * generation, and what cannot be read at once is left to lan_ingress.
 */
#include "lib/policy.h"
#include "lib/verdict.h"

/* Fills in what an event tells. 0: not a frame that can be read at once. */
INLINE int read_frame(struct xdp_md* ctx, struct packet* p) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct ethhdr* eth = data;
    struct iphdr* ip = (void*)(eth + 1);
    struct ipv6hdr* ip6 = (void*)(eth + 1);

    if ((void*)(eth + 1) > end)
        return 0;
    p->ethertype = bpf_ntohs(eth->h_proto);
    __builtin_memcpy(p->mac, eth->h_source, ETH_ALEN);
    switch (p->ethertype) {
    case ETH_P_ARP:
        return 1;
    case ETH_P_IP:
        if ((void*)(ip + 1) > end)
            return 0;
        map_ipv4(&p->source, ip->saddr);
        map_ipv4(&p->destination, ip->daddr);
        p->proto = ip->protocol;
        return 1;
    case ETH_P_IPV6:
        if ((void*)(ip6 + 1) > end)
            return 0;
        __builtin_memcpy(&p->source, &ip6->saddr, sizeof(p->source));
        __builtin_memcpy(&p->destination, &ip6->daddr, sizeof(p->destination));
        p->proto = ip6->nexthdr;
        return 1;
    default:
        return 0;
    }
}

SEC("xdp.frags")
int early_drop(struct xdp_md* ctx) {
    struct packet packet = {}, *p = &packet;
    __u32 generation = read_generation();
    __u32 reason = PENSTOCK_DROP_UNKNOWN_DEVICE;

    if (generation == 0 || !read_frame(ctx, p) || find_mac(generation, p->mac))
        return XDP_PASS;
    if (p->ethertype != ETH_P_ARP && find_device(generation, &p->source))
        reason = PENSTOCK_DROP_MAC_MISMATCH;
    count_drop(ctx->ingress_ifindex, p, reason | PENSTOCK_HOOK_EARLY_DROP << 8, NO_SLOT);
    return XDP_DROP;
}
