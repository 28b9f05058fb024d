/*
 * Layer 1 on the other side: what comes in on every interface that is neither LAN, loopback nor a tunnel of the agent.
 *
 * Nobody there speaks for a device or for a service behind a tunnel, nor to a device: such an address passes only in a
 * packet that an SA of ours decrypted. Without this a forged source makes the gateway itself answer towards a device.
 * All else is not judged here: what the gateway listens to is its own business. Each fragment carries its addresses.
 */
#include "lib/guarded.h"
#include "lib/verdict.h"

#define DROP(reason) drop(ctx, &p, PENSTOCK_DROP_##reason | PENSTOCK_HOOK_UPLINK_INGRESS << 8, NO_SLOT)

/* What follows the L2 header, whatever that is: a decrypted packet still has the one of its ESP. */
INLINE long load(struct __sk_buff* ctx, __u32 offset, void* to, __u32 size) {
    return bpf_skb_load_bytes_relative(ctx, offset, to, size, BPF_HDR_START_NET);
}

/* Came out of an SA of ours, for a network behind that tunnel. In user space ESP leaves the TUN, never an uplink. */
INLINE int is_decrypted(struct __sk_buff* ctx, const struct packet* p) {
    struct bpf_xfrm_state state = {};

    return !(gate_flags() & PENSTOCK_ESP_USER) && bpf_skb_get_xfrm_state(ctx, 0, &state, sizeof(state), 0) == 0 &&
           state.reqid >= 1 && tunnel_for(&p->source) == (int)state.reqid - 1;
}

INLINE int judge_ip(struct __sk_buff* ctx, struct packet p) {
    if (!is_guarded(&p.source) && !is_guarded(&p.destination))
        return PASS;
    return is_decrypted(ctx, &p) ? PASS : DROP(UPLINK_CLEAR);
}

INLINE int judge_ipv4(struct __sk_buff* ctx, struct packet p) {
    struct iphdr ip;

    if (load(ctx, 0, &ip, sizeof(ip)) < 0 || ip.version != 4)
        return DROP(MALFORMED);
    map_ipv4(&p.source, ip.saddr);
    map_ipv4(&p.destination, ip.daddr);
    p.proto = ip.protocol;
    return judge_ip(ctx, p);
}

/* NS, NA and redirects name an address behind their header (RFC 4861, 4.3 to 4.5), a redirect a second one. */
INLINE int judge_discovery(struct __sk_buff* ctx, struct packet p) {
    __u32 at = sizeof(struct ipv6hdr) + 8;

    if (load(ctx, at, &p.destination, sizeof(p.destination)) < 0)
        return DROP(MALFORMED);
    if (is_guarded(&p.destination))
        return DROP(UPLINK_NEIGHBOUR);
    if (p.icmp_type != ND_REDIRECT)
        return PASS;
    if (load(ctx, at + 16, &p.destination, sizeof(p.destination)) < 0)
        return DROP(MALFORMED);
    return is_guarded(&p.destination) ? DROP(UPLINK_NEIGHBOUR) : PASS;
}

INLINE int judge_ipv6(struct __sk_buff* ctx, struct packet p) {
    struct ipv6hdr ip;

    if (load(ctx, 0, &ip, sizeof(ip)) < 0 || ip.version != 6)
        return DROP(MALFORMED);
    __builtin_memcpy(&p.source, &ip.saddr, 16);
    __builtin_memcpy(&p.destination, &ip.daddr, 16);
    if (is_mapped(&p.source) || is_mapped(&p.destination)) /* in our maps these are IPv4's */
        return DROP(MALFORMED);
    p.proto = ip.nexthdr;
    if (p.proto == IPPROTO_ICMPV6) {
        if (load(ctx, sizeof(ip), &p.icmp_type, 1) < 0)
            return DROP(MALFORMED);
        if (p.icmp_type == ND_NEIGHBOR_SOLICIT || p.icmp_type == ND_NEIGHBOR_ADVERT || p.icmp_type == ND_REDIRECT)
            if (!is_guarded(&p.source) && !is_guarded(&p.destination))
                return judge_discovery(ctx, p);
    }
    return judge_ip(ctx, p);
}

INLINE int judge_arp(struct __sk_buff* ctx, struct packet p) {
    struct arp_packet arp;
    __u32 address;

    if (load(ctx, 0, &arp, sizeof(arp)) < 0)
        return DROP(MALFORMED);
    __builtin_memcpy(&address, arp.sender_ip, 4);
    map_ipv4(&p.source, address);
    __builtin_memcpy(&address, arp.target_ip, 4);
    map_ipv4(&p.destination, address);
    return is_guarded(&p.source) || is_guarded(&p.destination) ? DROP(UPLINK_NEIGHBOUR) : PASS;
}

SEC("tc")
int uplink_ingress(struct __sk_buff* ctx) {
    struct packet p = {};
    __u32 ifindex = ctx->ifindex;
    const struct penstock_link* link = bpf_map_lookup_elem(&links, &ifindex);

    p.ethertype = bpf_ntohs(ctx->protocol);
    if (link && link->l2_len == ETH_HLEN)
        bpf_skb_load_bytes(ctx, 6, p.mac, sizeof(p.mac)); /* zero if there is none: it is shown, not judged */
    switch (p.ethertype) {
    case ETH_P_IP:
        return judge_ipv4(ctx, p);
    case ETH_P_IPV6:
        return judge_ipv6(ctx, p);
    case ETH_P_ARP:
        return judge_arp(ctx, p);
    }
    return PASS; /* nothing that the kernel would answer for an address; a VLAN's or PPPoE's own interface is guarded
                    too */
}
