/*
 * Layer 1: what a device sends into the gateway. Default deny.
 *
 * Marks the packet as caused by a device, whatever it was marked before; then identity, flow, policy, tunnel, rate.
 * ARP, neighbour discovery and DHCP go to the gateway itself and nowhere else.
 */
#include "lib/judge.h"
#include "lib/rate.h"
#include "lib/segment.h"
#include "lib/verdict.h"

#define DROP_FOR(reason, slot) drop(ctx, p, (reason) | PENSTOCK_HOOK_LAN_INGRESS << 8, slot)
#define DROP(reason, slot) DROP_FOR(PENSTOCK_DROP_##reason, slot)

/* Is the address one of the sender's own? */
INLINE int speaks_for_itself(__u32 generation, const struct packet* p, const struct penstock_addr* claimed) {
    const struct penstock_device* device = find_device(generation, claimed);

    return device && same_mac(device->mac, p->mac);
}

/* May the sender say that it has this address? One that nobody has it may get, if it learns. */
INLINE int judge_claim(__u32 generation, const struct packet* p, const struct penstock_mac_entry* entry,
                       const struct penstock_addr* claimed) {
    const struct penstock_device* device = find_device(generation, claimed);

    if (!device)
        return entry->flags & PENSTOCK_DEVICE_LEARNS ? PENSTOCK_DROP_NOT_LEARNT : PENSTOCK_DROP_ARP_FORGED;
    return same_mac(device->mac, p->mac) ? PENSTOCK_DROP_NONE : PENSTOCK_DROP_ARP_FORGED;
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

/* May this device speak to the gateway at all about its addresses, on this LAN? */
INLINE int judge_mac(struct __sk_buff* ctx, const struct penstock_mac_entry* entry) {
    if (!entry)
        return PENSTOCK_DROP_UNKNOWN_DEVICE;
    if (entry->flags & PENSTOCK_DEVICE_BOUND && entry->ifindex != ctx->ifindex)
        return PENSTOCK_DROP_WRONG_LAN;
    return entry->flags & PENSTOCK_DEVICE_ARP_ND ? PENSTOCK_DROP_NONE : PENSTOCK_DROP_NOT_ALLOWED;
}

INLINE int judge_arp(struct __sk_buff* ctx, struct packet* p, __u32 generation) {
    const struct penstock_mac_entry* entry = find_mac(generation, p->mac);
    __u32 slot = entry ? entry->slot : NO_SLOT;
    int reason = judge_mac(ctx, entry);
    const struct arp_packet* arp;

    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, slot);
    arp = parse_arp(ctx, ETH_HLEN, p);
    if (!arp)
        return DROP(MALFORMED, slot);
    if (!same_mac(arp->sender_mac, p->mac))
        return DROP(ARP_FORGED, slot);
    if (!is_unspecified(p, &p->source))
        reason = judge_claim(generation, p, entry, &p->source);
    return reason == PENSTOCK_DROP_NONE ? PASS : DROP_FOR(reason, slot);
}

INLINE int judge_neighbour_discovery(struct __sk_buff* ctx, struct packet* p, __u32 generation) {
    const struct penstock_mac_entry* entry = find_mac(generation, p->mac);
    __u32 slot = entry ? entry->slot : NO_SLOT;
    int reason = judge_mac(ctx, entry);
    struct penstock_addr target;
    const __u8* d = p->destination.bytes;
    int local = (d[0] == 0xff && d[1] == 0x02) || is_link_local(&p->destination) ||
                is_host_address(ctx->ifindex, &p->destination);

    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, slot);
    if (!local)
        return DROP(MULTICAST, slot);
    if (!is_unspecified(p, &p->source) && !is_link_local(&p->source))
        reason = judge_claim(generation, p, entry, &p->source);
    if (reason == PENSTOCK_DROP_NONE && p->icmp_type == ND_NEIGHBOR_ADVERT) {
        if (bpf_skb_load_bytes(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 8, &target, sizeof(target)) < 0)
            return DROP(MALFORMED, slot);
        if (!is_link_local(&target)) {
            reason = judge_claim(generation, p, entry, &target);
            if (reason == PENSTOCK_DROP_NOT_LEARNT)
                p->source = target; /* for the event: what it claims */
        }
    }
    return reason == PENSTOCK_DROP_NONE ? PASS : DROP_FOR(reason, slot);
}

/* DHCP to everybody (RFC 2131, RFC 8415), from a device that has no address yet or speaks for itself. */
INLINE int is_allowed_dhcp(struct __sk_buff* ctx, const struct packet* p, __u32 generation) {
    const __u32* to = (const void*)&p->destination;
    const struct penstock_mac_entry* entry;

    if (p->proto != IPPROTO_UDP || p->fragment || p->options)
        return 0;
    if (p->ethertype == ETH_P_IP) {
        if (p->source_port_be != bpf_htons(68) || p->destination_port_be != bpf_htons(67) || to[3] != 0xffffffff)
            return 0;
    } else if (p->source_port_be != bpf_htons(546) || p->destination_port_be != bpf_htons(547) ||
               to[0] != bpf_htonl(0xff020000) || to[1] || to[2] || to[3] != bpf_htonl(0x00010002)) {
        return 0;
    }
    entry = find_mac(generation, p->mac);
    if (!entry || !(entry->flags & PENSTOCK_DEVICE_DHCP) ||
        (entry->flags & PENSTOCK_DEVICE_BOUND && entry->ifindex != ctx->ifindex))
        return 0;
    if (p->ethertype == ETH_P_IP ? ((const __u32*)&p->source)[3] == 0 : is_link_local(&p->source))
        return 1;
    return speaks_for_itself(generation, p, &p->source);
}

/* Who sent it? A drop reason, or NONE with the device. */
INLINE int identify(struct __sk_buff* ctx, const struct packet* p, __u32 generation,
                    const struct penstock_device** found, __u32* slot) {
    const struct penstock_device* device = find_device(generation, &p->source);
    const struct penstock_mac_entry* entry;

    if (!device) {
        entry = find_mac(generation, p->mac);
        if (!entry)
            return PENSTOCK_DROP_UNKNOWN_DEVICE;
        *slot = entry->slot;
        if (entry->flags & PENSTOCK_DEVICE_BOUND && entry->ifindex != ctx->ifindex)
            return PENSTOCK_DROP_WRONG_LAN;
        return entry->flags & PENSTOCK_DEVICE_LEARNS && !is_link_local(&p->source) && !is_unspecified(p, &p->source)
                   ? PENSTOCK_DROP_NOT_LEARNT
                   : PENSTOCK_DROP_ADDRESS_MISMATCH;
    }
    if (!same_mac(device->mac, p->mac) && !FAULT(14))
        return PENSTOCK_DROP_MAC_MISMATCH;
    *slot = device->slot;
    *found = device;
    if (device->flags & PENSTOCK_DEVICE_BOUND) {
        entry = find_mac(generation, p->mac);
        if (!entry || entry->ifindex != ctx->ifindex)
            return PENSTOCK_DROP_WRONG_LAN;
    }
    return PENSTOCK_DROP_NONE;
}

SEC("tc")
int lan_ingress(struct __sk_buff* ctx) {
    struct packet packet = {}, *p = &packet;
    struct track t = {.out = 1};
    const struct penstock_device* device = NULL;
    struct penstock_device_state* state;
    __u32 slot = NO_SLOT;
    __u64 now_ns;
    int reason;

    ctx->mark = (ctx->mark & ~mark_mask) | mark_device;
    make_linear(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 20);
    reason = parse_ethernet(ctx, p);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, NO_SLOT);
    t.generation = read_generation();
    if (t.generation == 0)
        return DROP(NO_POLICY, NO_SLOT);
    if (p->ethertype == ETH_P_ARP)
        return judge_arp(ctx, p, t.generation);
    if (p->ethertype != ETH_P_IP && p->ethertype != ETH_P_IPV6)
        return DROP(ETHERTYPE, NO_SLOT);
    reason = parse_ip(ctx, ETH_HLEN, p);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, NO_SLOT);
    if (is_neighbour_discovery(p))
        return judge_neighbour_discovery(ctx, p, t.generation);
    if (is_allowed_dhcp(ctx, p, t.generation))
        return PASS;
    reason = identify(ctx, p, t.generation, &device, &slot);
    if (reason != PENSTOCK_DROP_NONE || !device)
        return DROP_FOR(reason, slot);
    if (is_multicast(p) || ctx->pkt_type == PACKET_BROADCAST || ctx->pkt_type == PACKET_MULTICAST)
        return DROP(MULTICAST, slot);
    reason = judge_headers(ctx, p);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, slot);

    now_ns = bpf_ktime_get_coarse_ns();
    t.now = flow_now(now_ns);
    t.slot = slot;
    t.block = device->block;
    t.key.local = device->address_id;
    t.key.six = p->ethertype == ETH_P_IPV6;
    state = bpf_map_lookup_elem(&device_state, &slot);
    if (!state)
        return DROP(UNKNOWN_DEVICE, NO_SLOT);
    touch(&state->out_packets);
    if (is_latched())
        return DROP(LATCHED, slot);
    reason = p->later ? judge_later_fragment(p, &t) : judge_packet(ctx, p, &t);
    if (reason != PENSTOCK_DROP_NONE)
        return DROP_FOR(reason, slot);
    if (device->flags & PENSTOCK_DEVICE_RATE && !within_rate(ctx, t.generation, t.block, slot))
        return DROP(RATE, slot);
    if (p->fragment && !p->later)
        note_first_fragment(p, &t);
    __sync_fetch_and_add(&state->out_packets, 1);
    __sync_fetch_and_add(&state->out_bytes, ctx->len);
    state->last_seen_ns = now_ns;
    fit_segments(ctx, p, t.tunnel);
    return PASS;
}
