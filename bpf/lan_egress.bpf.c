/*
 * Layer 1, the other direction: what reaches a device. Only what the gateway itself sends, and answers that came out of
 * a tunnel and belong to something the device was allowed to ask for.
 */
#include "lib/flow.h"
#include "lib/policy.h"
#include "lib/verdict.h"

#define DROP(reason, slot) drop(ctx, &p, PENSTOCK_DROP_##reason | PENSTOCK_HOOK_LAN_EGRESS << 8, slot)

/* Index of the tunnel the packet was decrypted from, or -1. */
INLINE int decrypted_from(struct __sk_buff* ctx) {
    struct bpf_xfrm_state state = {};
    __u32 from = ctx->ingress_ifindex;
    const struct penstock_link* link;

    if (bpf_skb_get_xfrm_state(ctx, 0, &state, sizeof(state), 0) == 0)
        return state.reqid >= 1 && state.reqid <= PENSTOCK_MAX_TUNNELS ? (int)state.reqid - 1 : -1;
    link = bpf_map_lookup_elem(&links, &from);
    if (gate_flags() & PENSTOCK_ESP_USER && link && link->role == PENSTOCK_LINK_TUNNEL)
        return PENSTOCK_MAX_TUNNELS; /* libipsec checks the selectors of the SA and has one TUN for all of them */
    return -1;
}

/* The flow an ICMP error complains about: the packet it quotes is one the device sent (RFC 792, RFC 4443). */
INLINE __u8 quoted_flow(struct __sk_buff* ctx, const struct packet* p, struct flow_key* key) {
    __be16 ports[2];

    if (p->ethertype == ETH_P_IP && p->proto == IPPROTO_ICMP &&
        (p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12)) {
        struct iphdr ip;

        if (bpf_skb_load_bytes(ctx, ETH_HLEN + sizeof(ip) + 8, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl != 5 ||
            bpf_ntohs(ip.frag_off) & 0x1fff ||
            bpf_skb_load_bytes(ctx, ETH_HLEN + 2 * sizeof(ip) + 8, ports, sizeof(ports)) < 0)
            return 0;
        map_ipv4(&key->local, ip.saddr);
        map_ipv4(&key->remote, ip.daddr);
        key->proto = ip.protocol;
    } else if (p->ethertype == ETH_P_IPV6 && p->proto == IPPROTO_ICMPV6 && p->icmp_type >= 1 && p->icmp_type <= 4) {
        struct ipv6hdr ip;

        if (bpf_skb_load_bytes(ctx, ETH_HLEN + sizeof(ip) + 8, &ip, sizeof(ip)) < 0 || ip.version != 6 ||
            bpf_skb_load_bytes(ctx, ETH_HLEN + 2 * sizeof(ip) + 8, ports, sizeof(ports)) < 0)
            return 0;
        __builtin_memcpy(&key->local, &ip.saddr, 16);
        __builtin_memcpy(&key->remote, &ip.daddr, 16);
        key->proto = ip.nexthdr;
    } else {
        return 0;
    }
    key->local_port_be = ports[0];
    key->remote_port_be = ports[1];
    return (key->proto == IPPROTO_TCP || key->proto == IPPROTO_UDP) && same_addr(&key->local, &p->destination);
}

SEC("tc")
int lan_egress(struct __sk_buff* ctx) {
    struct packet p = {};
    struct flow_key key = {};
    struct flow_view flow = {};
    const struct penstock_device* device;
    struct penstock_device_state* state;
    __u32 generation, slot, now;
    __u8 reason, mac[6];
    int tunnel;

    if (ctx->ingress_ifindex == 0) /* the gateway itself */
        return PASS;
    make_linear(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 20);
    reason = parse_ethernet(ctx, &p);
    if (reason != PENSTOCK_DROP_NONE)
        return drop(ctx, &p, reason | PENSTOCK_HOOK_LAN_EGRESS << 8, NO_SLOT);
    if (p.ethertype != ETH_P_IP && p.ethertype != ETH_P_IPV6)
        return DROP(ETHERTYPE, NO_SLOT);
    reason = parse_ip(ctx, ETH_HLEN, &p);
    if (reason != PENSTOCK_DROP_NONE)
        return drop(ctx, &p, reason | PENSTOCK_HOOK_LAN_EGRESS << 8, NO_SLOT);
    tunnel = decrypted_from(ctx);
    if (tunnel < 0)
        return DROP(NOT_DECRYPTED, NO_SLOT);
    generation = read_generation();
    if (generation == 0)
        return DROP(NO_POLICY, NO_SLOT);
    device = find_device(generation, &p.destination);
    if (!device)
        return DROP(NO_DEVICE, NO_SLOT);
    slot = device->slot;
    /* The neighbour table may be wrong, or talked into it: one device's answer is not another's, nor everybody's. */
    if (bpf_skb_load_bytes(ctx, 0, mac, sizeof(mac)) < 0 || !same_mac(mac, device->mac))
        return DROP(MAC_MISMATCH, slot);
    if (p.fragment)
        return DROP(FRAGMENT, slot);
    if (p.options)
        return DROP(IP_OPTIONS, slot);
    state = bpf_map_lookup_elem(&device_state, &slot);
    if (!state)
        return DROP(NO_DEVICE, NO_SLOT);

    if (p.proto == IPPROTO_TCP || p.proto == IPPROTO_UDP) {
        key.remote = p.source;
        key.local = p.destination;
        key.remote_port_be = p.source_port_be;
        key.local_port_be = p.destination_port_be;
        key.proto = p.proto;
    } else if (!quoted_flow(ctx, &p, &key)) {
        return DROP(NO_FLOW, slot);
    }
    now = flow_now();
    if (!flow_find(slot, &key, now, &flow) || (tunnel != PENSTOCK_MAX_TUNNELS && (__u32)tunnel != flow.tunnel))
        return DROP(NO_FLOW, slot);
    if (flow.generation != generation) {
        if (!rules_allow(generation, device->block, &key.remote, key.proto, key.remote_port_be))
            return DROP(NOT_ALLOWED, slot);
        flow_confirm(slot, &flow, generation);
    }
    __sync_fetch_and_add(&state->in_packets, 1);
    __sync_fetch_and_add(&state->in_bytes, ctx->len);
    return PASS;
}
