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

INLINE __u32 gate_flags(void) { return gate_entry(PENSTOCK_GATE_FLAGS); }

INLINE const struct penstock_device* find_device(__u32 generation, const struct penstock_addr* address) {
    __u32 half = generation & 1;
    void* table = bpf_map_lookup_elem(&device_table, &half);

    return table ? bpf_map_lookup_elem(table, address) : NULL;
}

/* The slot of the device with this MAC, or NULL. */
INLINE const __u32* find_mac(__u32 generation, const __u8 mac[6]) {
    struct penstock_mac key = {};
    __u32 half = generation & 1;
    void* table = bpf_map_lookup_elem(&mac_table, &half);

    __builtin_memcpy(key.bytes, mac, 6);
    return table ? bpf_map_lookup_elem(table, &key) : NULL;
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

/* Global functions, so that the verifier walks them once and not with every path that leads here. */

/* Does a rule of the block allow proto and port (network byte order) to this address? */
__weak __noinline int rules_allow(__u32 generation, __u32 block, const struct penstock_addr* to, __u32 proto,
                                  __u32 port_be) {
    __u32 half = generation & 1;
    void* table = bpf_map_lookup_elem(&rule_table, &half);
    const struct penstock_rule_block* b = table ? bpf_map_lookup_elem(table, &block) : NULL;
    __u16 port = bpf_ntohs(port_be);

    if (!b || !to)
        return 0;
    for (int i = 0; i < PENSTOCK_MAX_RULES; i++) {
        const struct penstock_rule* rule = &b->rule[i];

        if (rule->proto == 0)
            return 0;
        if (rule->proto == proto && (__u16)(port - rule->port_low) <= rule->port_span &&
            in_prefix(to, &rule->mask, &rule->address))
            return 1;
    }
    return 0;
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
