/* The policy as the packet path sees it: who a source is, which rule allows a destination, which tunnel covers it. */
#ifndef PENSTOCK_LIB_POLICY_H
#define PENSTOCK_LIB_POLICY_H

#include "maps.h"
#include "packet.h"

INLINE __u32 gate_entry(__u32 entry) {
    const __u32* value = bpf_map_lookup_elem(&gate, &entry);

    return value ? *(volatile const __u32*)value : 0;
}

/* The generation is read once a packet; everything else of the policy hangs on it. */
INLINE __u32 read_generation(void) { return gate_entry(PENSTOCK_GATE_GENERATION); }

/* Layer 5 saw a frame in clear. */
INLINE int is_latched(void) { return gate_entry(PENSTOCK_GATE_LATCH) != 0; }

INLINE __u32 gate_flags(void) { return gate_entry(PENSTOCK_GATE_FLAGS); }

INLINE void* policy_of(__u32 generation) {
    __u32 half = generation & 1;

    return bpf_map_lookup_elem(&policy, &half);
}

INLINE const struct penstock_cell* cell_of(void* table, __u32 index) { return bpf_map_lookup_elem(table, &index); }

/* Place in the hash table of addresses, or -1. Global, so that the verifier walks it once. */
__weak __noinline int address_place(__u32 generation, const struct penstock_addr* address) {
    void* table = policy_of(generation);
    const struct penstock_cell* info = table ? cell_of(table, 0) : NULL;
    const __u64* word = (const void*)address;
    __u32 place;

    if (!info || !address || !info->info.address_count)
        return -1;
    place = penstock_place(word[0], word[1], info->info.seed, info->info.address_count);
    for (int i = 0; i < PENSTOCK_PROBES; i++) {
        const struct penstock_cell* cell = cell_of(table, info->info.addresses + place / 2);
        const struct penstock_device_at* at;

        if (!cell)
            return -1;
        CHECKED(cell);
        at = &cell->at[place & 1];
        if (!(at->device.flags & PENSTOCK_DEVICE_USED))
            return -1;
        if (same_addr(&at->address, address))
            return place;
        place = (place + 1) % info->info.address_count; /* no branch: the verifier would take both at each probe */
    }
    return -1;
}

/* The device that has this address, or NULL. */
INLINE const struct penstock_device* find_device(__u32 generation, const struct penstock_addr* address) {
    void* table = policy_of(generation);
    const struct penstock_cell* info = table ? cell_of(table, 0) : NULL;
    const struct penstock_cell* cell;
    __u32 place;
    int found;

    if (!info)
        return NULL;
    place = bpf_ntohl(((const __u32*)address)[3]) - info->info.ipv4_base;
    if (is_mapped(address) && place < info->info.ipv4_count) {
        const struct penstock_device* device;

        cell = cell_of(table, info->info.ipv4 + place / 4);
        if (!cell)
            return NULL;
        CHECKED(cell);
        device = &cell->device[place & 3];
        return device->flags & PENSTOCK_DEVICE_USED ? device : NULL;
    }
    found = address_place(generation, address);
    if (found < 0)
        return NULL;
    cell = cell_of(table, info->info.addresses + found / 2);
    if (!cell)
        return NULL;
    CHECKED(cell);
    return &cell->at[found & 1].device;
}

INLINE __u64 mac_number(const __u8 mac[6]) {
    __u32 low;
    __u16 high;

    __builtin_memcpy(&low, mac, 4);
    __builtin_memcpy(&high, mac + 4, 2);
    return low | (__u64)high << 32;
}

/* Place in the hash table of MACs, or -1. */
__weak __noinline int mac_place(__u32 generation, __u64 mac) {
    void* table = policy_of(generation);
    const struct penstock_cell* info = table ? cell_of(table, 0) : NULL;
    __u32 place;

    if (!info || !info->info.mac_count)
        return -1;
    place = penstock_place(0, mac, info->info.seed, info->info.mac_count);
    for (int i = 0; i < PENSTOCK_PROBES; i++) {
        const struct penstock_cell* cell = cell_of(table, info->info.macs + place / 4);
        const struct penstock_mac_entry* entry;

        if (!cell)
            return -1;
        CHECKED(cell);
        entry = &cell->mac[place & 3];
        if (!(entry->flags & PENSTOCK_DEVICE_USED))
            return -1;
        if (mac_number(entry->mac) == mac)
            return place;
        place = (place + 1) % info->info.mac_count;
    }
    return -1;
}

/* The device with this MAC, or NULL. */
INLINE const struct penstock_mac_entry* find_mac(__u32 generation, const __u8 mac[6]) {
    void* table = policy_of(generation);
    const struct penstock_cell* info = table ? cell_of(table, 0) : NULL;
    int found = mac_place(generation, mac_number(mac));
    const struct penstock_cell* cell;

    if (!info || found < 0)
        return NULL;
    cell = cell_of(table, info->info.macs + found / 4);
    if (!cell)
        return NULL;
    CHECKED(cell);
    return &cell->mac[found & 3];
}

INLINE int same_mac(const __u8 a[6], const __u8 b[6]) {
    __u32 x, y;
    __u16 v, w;

    __builtin_memcpy(&x, a, 4);
    __builtin_memcpy(&y, b, 4);
    __builtin_memcpy(&v, a + 4, 2);
    __builtin_memcpy(&w, b + 4, 2);
    return x == y && v == w;
}

INLINE int in_prefix(const struct penstock_addr* a, const struct penstock_addr* mask,
                     const struct penstock_addr* prefix) {
    const __u64 *x = (const void*)a, *m = (const void*)mask, *p = (const void*)prefix;

    return (x[0] & m[0]) == p[0] && (x[1] & m[1]) == p[1];
}

INLINE const struct penstock_block* find_block(__u32 generation, __u32 block) {
    void* table = policy_of(generation);
    const struct penstock_cell* info = table ? cell_of(table, 0) : NULL;
    const struct penstock_cell* cell;

    if (!info || block >= info->info.block_count)
        return NULL;
    cell = cell_of(table, info->info.blocks + block);
    return cell ? &cell->block : NULL;
}

/* What rules are asked. */
struct question {
    struct penstock_addr peer; /* its address, if it is behind a tunnel */
    __u32 generation;
    __u32 block;     /* whose rules */
    __u32 peer_slot; /* if the peer is a device */
    __u32 peer_block;
    __u16 port; /* of the one who is reached, or ICMP type; host byte order */
    __u8 proto;
    __u8 from; /* 1: the peer begins */
    __u8 six;
    __u8 lan; /* 1: the peer is a device */
    __u8 pad[2];
};

#define PENSTOCK_RULE_LAN (PENSTOCK_RULE_DEVICE | PENSTOCK_RULE_GROUP)

/* Answers: flags of the rule that allows it, or one of these. */
#define NO_RULE (-1)
#define DENIED (-2)

/* Is the peer, a device, in this group? */
__weak __noinline int in_group(__u32 generation, __u32 peer_block, __u32 group) {
    const struct penstock_block* block = find_block(generation, peer_block);
    void* table = policy_of(generation);

    if (!block || !table)
        return 0;
    for (__u32 i = 0; i < PENSTOCK_MAX_GROUPS_PER_DEVICE && i < block->group_count; i++) {
        const struct penstock_cell* cell = cell_of(table, block->groups + i / 16);

        if (!cell)
            return 0;
        CHECKED(cell);
        if (cell->group[i & 15] == group)
            return 1;
    }
    return 0;
}

INLINE int rule_covers(const struct question* q, __u8 proto, __u16 port_low, __u16 port_span) {
    if (proto == 0)
        return 1; /* the programs ask for TCP, UDP and ICMP only */
    return proto == q->proto && (__u16)(q->port - port_low) <= port_span + FAULT(1);
}

INLINE int rule_has_peer(const struct question* q, __u8 flags, __u32 number) {
    if (flags & PENSTOCK_RULE_DEVICE)
        return number == q->peer_slot;
    return flags & PENSTOCK_RULE_GROUP && in_group(q->generation, q->peer_block, number);
}

__weak __noinline int judge_rules4(const struct question* q, __u32 first, __u32 count) {
    void* table = q ? policy_of(q->generation) : NULL;
    __u32 peer;

    if (!q || !table)
        return NO_RULE;
    peer = ((const __u32*)&q->peer)[3];
    for (__u32 i = 0; i < PENSTOCK_MAX_RULES && i + FAULT(6) < count; i++) {
        const struct penstock_cell* cell = cell_of(table, first + i / 4);
        const struct penstock_rule4* r;

        if (!cell)
            return NO_RULE;
        CHECKED(cell);
        r = &cell->rule4[i & 3];
        if (!rule_covers(q, r->proto, r->port_low, r->port_span))
            continue;
        if (q->lan ? rule_has_peer(q, r->flags, r->address_be)
                   : !(r->flags & PENSTOCK_RULE_LAN) && (peer & r->mask_be) == r->address_be)
            return r->flags & PENSTOCK_RULE_DENY && !FAULT(5) ? DENIED : r->flags;
    }
    return NO_RULE;
}

__weak __noinline int judge_rules6(const struct question* q, __u32 first, __u32 count) {
    void* table = q ? policy_of(q->generation) : NULL;

    if (!q || !table)
        return NO_RULE;
    for (__u32 i = 0; i < PENSTOCK_MAX_RULES && i < count; i++) {
        const struct penstock_cell* cell = cell_of(table, first + i);
        const struct penstock_rule6* r;

        if (!cell)
            return NO_RULE;
        r = &cell->rule6;
        if (!rule_covers(q, r->proto, r->port_low, r->port_span))
            continue;
        if (q->lan ? rule_has_peer(q, r->flags, *(const __u32*)&r->address)
                   : !(r->flags & PENSTOCK_RULE_LAN) && in_prefix(&q->peer, &r->mask, &r->address) != FAULT(7))
            return r->flags & PENSTOCK_RULE_DENY ? DENIED : r->flags;
    }
    return NO_RULE;
}

INLINE int judge_block(const struct question* q) {
    const struct penstock_block* block = find_block(q->generation, q->block);
    const struct penstock_rule_range* range;

    if (!block)
        return NO_RULE;
    range = &block->rules[q->six & 1][(q->from ^ FAULT(12)) & 1];
    return q->six ? judge_rules6(q, range->cell, range->count) : judge_rules4(q, range->cell, range->count);
}

/* May the device of `q` have a flow with the peer? Between two devices the rules of both count. */
__weak __noinline int judge_flow(struct question* q, __u32 slot) {
    int own, others;

    if (!q)
        return NO_RULE;
    own = judge_block(q);
    if (!q->lan || own == DENIED)
        return own;
    {
        struct question turned = *q;

        turned.block = q->peer_block;
        turned.peer_block = q->block;
        turned.peer_slot = slot;
        turned.from = !q->from;
        others = judge_block(&turned);
    }
    if ((others == DENIED && !FAULT(16)) || own == NO_RULE)
        return others;
    if (others == NO_RULE)
        return own;
    return own & others; /* a rule without `require` is enough */
}

/* Index of the tunnel whose remote networks hold the address, or -1. */
__weak __noinline int tunnel_for(const struct penstock_addr* to) {
    if (!to)
        return -1;
    for (__u32 i = 0; i < PENSTOCK_MAX_SELECTORS; i++) {
        __u32 index = i;
        const struct penstock_selector* s = bpf_map_lookup_elem(&selectors, &index);

        if (!s || !s->used)
            return -1;
        if (in_prefix(to, &s->mask, &s->address))
            return s->tunnel & (PENSTOCK_MAX_TUNNELS - 1);
    }
    return -1;
}

INLINE int tunnel_up(__u32 tunnel) {
    const struct penstock_tunnel* t = bpf_map_lookup_elem(&tunnels, &tunnel);

    return t && *(volatile const __u32*)&t->up;
}

INLINE int is_host_address(__u32 ifindex, const struct penstock_addr* address) {
    struct penstock_host_address key = {.address = *address, .ifindex = ifindex};

    return bpf_map_lookup_elem(&host_addresses, &key) != NULL;
}

#endif
