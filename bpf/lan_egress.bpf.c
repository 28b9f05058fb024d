/*
 * Layer 1, the other direction: what reaches a device. Only what the gateway itself sends; what came out of a tunnel,
 * or from another device through layer 1, and answers the device or may begin a flow with it.
 */
#include "lib/judge.h"
#include "lib/segment.h"
#include "lib/verdict.h"

#define DROP_FOR(reason, slot) drop(ctx, p, (reason) | PENSTOCK_HOOK_LAN_EGRESS << 8, slot)
#define DROP(reason, slot) DROP_FOR(PENSTOCK_DROP_##reason, slot)

/* Index of the tunnel the packet was decrypted from, PENSTOCK_TUNNEL_LAN for another device's, or -1. */
INLINE int came_from(struct __sk_buff* ctx) {
    struct bpf_xfrm_state state = {};
    __u32 from = ctx->ingress_ifindex;
    const struct penstock_link* link;

    if (bpf_skb_get_xfrm_state(ctx, 0, &state, sizeof(state), 0) == 0)
        return state.reqid >= 1 && state.reqid <= PENSTOCK_MAX_TUNNELS ? (int)state.reqid - 1 : -1;
    link = bpf_map_lookup_elem(&links, &from);
    if (link && link->role == PENSTOCK_LINK_LAN && (ctx->mark & mark_mask) == mark_device)
        return PENSTOCK_TUNNEL_LAN;
    if (gate_flags() & PENSTOCK_ESP_USER && link && link->role == PENSTOCK_LINK_TUNNEL)
        return ANY_TUNNEL; /* libipsec checks the selectors of the SA and has one TUN for all of them */
    return -1;
}

/* An IPv6 packet with an extension header, behind which a Fragment header may be: all that ip6_fragment() copies. To a
 * group only the kernel itself speaks with one (MLD). */
INLINE int is_ipv6_fragment(struct __sk_buff* ctx) {
    __u8 next, to;

    if (ctx->protocol != bpf_htons(ETH_P_IPV6))
        return 0;
    if (bpf_skb_load_bytes(ctx, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &next, sizeof(next)) < 0)
        return 1;
    if (next == IPPROTO_HOPOPTS)
        return bpf_skb_load_bytes(ctx, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &to, 1) < 0 || to != 0xff;
    return next == IPPROTO_FRAGMENT || next == IPPROTO_DSTOPTS || next == IPPROTO_ROUTING;
}

SEC("tc")
int lan_egress(struct __sk_buff* ctx) {
    struct packet packet = {}, *p = &packet;
    struct track t = {};
    const struct penstock_device* device;
    struct penstock_device_state* state;
    __u32 slot;
    __u8 mac[6];
    int reason, tunnel;

    /* The gateway itself. A fragment that ip6_fragment() made of a forwarded packet has lost its interface too, but has
     * no socket. */
    if (ctx->ingress_ifindex == 0 && (ctx->sk || !is_ipv6_fragment(ctx)))
        return PASS;
    make_linear(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 20);
    reason = parse_ethernet(ctx, p);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, NO_SLOT);
    if (p->ethertype != ETH_P_IP && p->ethertype != ETH_P_IPV6)
        return DROP(ETHERTYPE, NO_SLOT);
    reason = parse_ip(ctx, ETH_HLEN, p);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, NO_SLOT);
    tunnel = came_from(ctx);
    if (tunnel < 0)
        return DROP(NOT_DECRYPTED, NO_SLOT);
    t.generation = read_generation();
    if (t.generation == 0)
        return DROP(NO_POLICY, NO_SLOT);
    device = find_device(t.generation, &p->destination);
    if (!device)
        return DROP(NO_DEVICE, NO_SLOT);
    slot = device->slot;
    /* The neighbour table may be wrong, or talked into it: one device's answer is not another's, nor everybody's. */
    if (bpf_skb_load_bytes(ctx, 0, mac, sizeof(mac)) < 0 || !same_mac(mac, device->mac))
        return DROP(MAC_MISMATCH, slot);
    reason = judge_headers(ctx, p);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, slot);
    state = bpf_map_lookup_elem(&device_state, &slot);
    if (!state)
        return DROP(NO_DEVICE, NO_SLOT);

    t.now = flow_now(bpf_ktime_get_coarse_ns());
    t.slot = slot;
    t.block = device->block;
    t.tunnel = tunnel;
    t.key.local = device->address_id;
    t.key.six = p->ethertype == ETH_P_IPV6;
    reason = p->later ? judge_later_fragment(p, &t) : judge_packet(ctx, p, &t);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, slot);
    if (p->fragment && !p->later)
        note_first_fragment(p, &t);
    __sync_fetch_and_add(&state->in_packets, 1);
    __sync_fetch_and_add(&state->in_bytes, ctx->len);
    fit_segments(ctx, p, t.tunnel);
    return PASS;
}
