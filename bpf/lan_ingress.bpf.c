/*
 * Layer 1: what a device sends into the gateway. Default deny.
 *
 * Marks the packet as caused by a device, whatever it was marked before; then identity, policy, flow, tunnel. ARP and
 * neighbour discovery go to the gateway itself and nowhere else.
 */
#include "lib/flow.h"
#include "lib/policy.h"
#include "lib/verdict.h"

#define DROP(reason, slot) drop(ctx, &p, PENSTOCK_DROP_##reason | PENSTOCK_HOOK_LAN_INGRESS << 8, slot)

/* Is the address one of the sender's own? */
INLINE int speaks_for_itself(__u32 generation, const struct packet* p, const struct penstock_addr* claimed) {
    const struct penstock_device* device = find_device(generation, claimed);

    return device && same_mac(device->mac, p->mac);
}

INLINE int is_unspecified(const struct packet* p, const struct penstock_addr* a) {
    const __u32* word = (const void*)a;

    return word[0] == 0 && word[1] == 0 && word[3] == 0 &&
           word[2] == (p->ethertype == ETH_P_ARP ? bpf_htonl(0xffff) : 0);
}

INLINE int is_link_local(const struct penstock_addr* a) { return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80; }

/* Neighbour discovery (RFC 4861): RS, NS, NA with hop limit 255, which no router lets through from elsewhere. */
INLINE int is_neighbour_discovery(const struct packet* p) {
    return p->ethertype == ETH_P_IPV6 && p->proto == IPPROTO_ICMPV6 && p->hop_limit == 255 &&
           (p->icmp_type == ND_ROUTER_SOLICIT || p->icmp_type == ND_NEIGHBOR_SOLICIT ||
            p->icmp_type == ND_NEIGHBOR_ADVERT);
}

INLINE int judge_arp(struct __sk_buff* ctx, struct packet p, __u32 generation, __u32 slot) {
    const struct arp_packet* arp = parse_arp(ctx, &p);

    if (!arp)
        return DROP(MALFORMED, slot);
    if (!same_mac(arp->sender_mac, p.mac))
        return DROP(ARP_FORGED, slot);
    if (!is_unspecified(&p, &p.source) && !speaks_for_itself(generation, &p, &p.source))
        return DROP(ARP_FORGED, slot);
    return PASS;
}

INLINE int judge_neighbour_discovery(struct __sk_buff* ctx, struct packet p, __u32 generation, __u32 slot) {
    struct penstock_addr target;
    const __u8* d = p.destination.bytes;
    int local = (d[0] == 0xff && d[1] == 0x02) || is_link_local(&p.destination) ||
                is_host_address(ctx->ifindex, &p.destination);

    if (!local)
        return DROP(MULTICAST, slot);
    if (!is_unspecified(&p, &p.source) && !is_link_local(&p.source) && !speaks_for_itself(generation, &p, &p.source))
        return DROP(ARP_FORGED, slot);
    if (p.icmp_type == ND_NEIGHBOR_ADVERT) {
        if (bpf_skb_load_bytes(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 8, &target, sizeof(target)) < 0)
            return DROP(MALFORMED, slot);
        if (!is_link_local(&target) && !speaks_for_itself(generation, &p, &target))
            return DROP(ARP_FORGED, slot);
    }
    return PASS;
}

SEC("tc")
int lan_ingress(struct __sk_buff* ctx) {
    struct packet p = {};
    struct flow_key key = {};
    struct flow_view flow = {};
    const struct penstock_device* device;
    struct penstock_device_state* state;
    const __u32* mac_slot;
    __u32 generation, slot, now;
    __u8 reason;
    int tunnel, known;

    ctx->mark = (ctx->mark & ~mark_mask) | mark_device;
    make_linear(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 20);
    reason = parse_ethernet(ctx, &p);
    if (reason != PENSTOCK_DROP_NONE)
        return drop(ctx, &p, reason | PENSTOCK_HOOK_LAN_INGRESS << 8, NO_SLOT);
    generation = read_generation();
    if (generation == 0)
        return DROP(NO_POLICY, NO_SLOT);

    if (p.ethertype == ETH_P_ARP) {
        mac_slot = find_mac(generation, p.mac);
        return mac_slot ? judge_arp(ctx, p, generation, *mac_slot) : DROP(UNKNOWN_DEVICE, NO_SLOT);
    }
    if (p.ethertype != ETH_P_IP && p.ethertype != ETH_P_IPV6)
        return DROP(ETHERTYPE, NO_SLOT);
    reason = parse_ip(ctx, ETH_HLEN, &p);
    if (reason != PENSTOCK_DROP_NONE)
        return drop(ctx, &p, reason | PENSTOCK_HOOK_LAN_INGRESS << 8, NO_SLOT);
    if (is_neighbour_discovery(&p)) {
        mac_slot = find_mac(generation, p.mac);
        return mac_slot ? judge_neighbour_discovery(ctx, p, generation, *mac_slot) : DROP(UNKNOWN_DEVICE, NO_SLOT);
    }

    device = find_device(generation, &p.source);
    if (!device) {
        mac_slot = find_mac(generation, p.mac);
        return mac_slot ? DROP(ADDRESS_MISMATCH, *mac_slot) : DROP(UNKNOWN_DEVICE, NO_SLOT);
    }
    if (!same_mac(device->mac, p.mac))
        return DROP(MAC_MISMATCH, NO_SLOT);
    slot = device->slot;
    if (is_multicast(&p) || ctx->pkt_type == PACKET_BROADCAST || ctx->pkt_type == PACKET_MULTICAST)
        return DROP(MULTICAST, slot);
    if (p.fragment)
        return DROP(FRAGMENT, slot);
    if (p.options)
        return DROP(IP_OPTIONS, slot);
    if (p.proto != IPPROTO_TCP && p.proto != IPPROTO_UDP)
        return DROP(NOT_ALLOWED, slot);
    state = bpf_map_lookup_elem(&device_state, &slot);
    if (!state)
        return DROP(UNKNOWN_DEVICE, NO_SLOT);

    key.remote = p.destination;
    key.local = p.source;
    key.remote_port_be = p.destination_port_be;
    key.local_port_be = p.source_port_be;
    key.proto = p.proto;
    now = flow_now();
    known = flow_find(slot, &key, now, &flow);
    if (!known || flow.generation != generation) {
        if (!rules_allow(generation, device->block, &p.destination, p.proto, p.destination_port_be))
            return DROP(NOT_ALLOWED, slot);
        tunnel = tunnel_for(&p.destination);
        if (tunnel < 0)
            return DROP(NO_TUNNEL, slot);
        flow.tunnel = tunnel;
        if (known)
            flow_confirm(slot, &flow, generation);
        else
            flow_insert(slot, &key, generation, flow.tunnel, now);
    }
    if (!tunnel_up(flow.tunnel))
        return DROP(TUNNEL_DOWN, slot);
    __sync_fetch_and_add(&state->out_packets, 1);
    __sync_fetch_and_add(&state->out_bytes, ctx->len);
    state->last_seen_ns = (__u64)now << SECONDS_SHIFT;
    return PASS;
}
