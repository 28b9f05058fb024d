/* Later fragments pass only behind their first one, which was judged in full: the same packet, the same direction, the
 * same policy, and no overlap with what was judged. A few packets a device and family are kept track of. */
#ifndef PENSTOCK_LIB_FRAGMENT_H
#define PENSTOCK_LIB_FRAGMENT_H

#include "flow.h"

struct fragment_key {
    struct penstock_addr remote;
    struct penstock_addr local;
    __u32 id;  /* as on the wire */
    __u16 end; /* of the first: where it ends; of a later one: where it begins; units of 8 bytes */
    __u8 proto;
    __u8 in; /* 1: towards the device */
    __u8 six;
    __u8 pad[3];
};

#define FRAGMENT_SAME ((1ULL << PENSTOCK_FRAGMENT_END) - 1) /* id, proto, direction */
#define FRAGMENT_FIELD(meta, name, bits) (((meta) >> PENSTOCK_FRAGMENT_##name) & ((1ULL << (bits)) - 1))

INLINE __u64 fragment_meta(const struct fragment_key* k, __u32 generation, __u32 now) {
    __u64 id = k->six ? 0 : k->id & 0xffff;
    __u64 proto = k->six ? 0 : k->proto; /* RFC 8200: not part of the packet's name */

    return id | proto << PENSTOCK_FRAGMENT_PROTO | (__u64)(k->in & 1) << PENSTOCK_FRAGMENT_IN |
           (__u64)(k->end & 0x1fff) << PENSTOCK_FRAGMENT_END |
           (__u64)(generation & 0xfff) << PENSTOCK_FRAGMENT_GENERATION |
           (__u64)(now & 0xfff) << PENSTOCK_FRAGMENT_SEEN | 1ULL << PENSTOCK_FRAGMENT_SET;
}

/* Does the later fragment `want` belong behind the first one that `meta` stands for? */
INLINE int fragment_follows(__u64 meta, __u64 want) {
    __u32 age = (FRAGMENT_FIELD(want, SEEN, 12) - FRAGMENT_FIELD(meta, SEEN, 12)) & 0xfff;

    return meta >> PENSTOCK_FRAGMENT_SET & 1 && !((meta ^ want) & FRAGMENT_SAME) &&
           FRAGMENT_FIELD(meta, GENERATION, 12) == FRAGMENT_FIELD(want, GENERATION, 12) &&
           (FRAGMENT_FIELD(want, END, 13) >= FRAGMENT_FIELD(meta, END, 13) || FAULT(9)) &&
           (age <= FRAGMENT_WAIT || age > 0xff0);
}

INLINE int fragment_find4(__u32 slot, const struct fragment_key* k, __u64 want) {
    struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);
    __u64 address = ((const __u32*)&k->remote)[3] | (__u64)((const __u32*)&k->local)[3] << 32;

    if (!state)
        return 0;
    for (int i = 0; i < PENSTOCK_FRAGMENTS; i++) {
        struct penstock_fragment4* f = &state->fragment[i];
        __u64 meta = *(volatile __u64*)&f->meta;

        load_barrier();
        if (*(volatile __u64*)f != address || !fragment_follows(meta, want))
            continue;
        load_barrier();
        if (*(volatile __u64*)&f->meta == meta)
            return 1;
    }
    return 0;
}

INLINE int fragment_find6(__u32 slot, const struct fragment_key* k, __u64 want) {
    __u32 zero = 0;
    void* table = bpf_map_lookup_elem(&flows_ipv6, &zero);
    struct penstock_flows6* flows = table ? bpf_map_lookup_elem(table, &slot) : NULL;

    if (!flows)
        return 0;
    for (int i = 0; i < PENSTOCK_FRAGMENTS; i++) {
        struct penstock_fragment6* f = &flows->fragment[i];
        __u64 meta = *(volatile __u64*)&f->meta;
        __u32 version = *(volatile __u32*)&f->version;

        load_barrier();
        if (f->id_be != k->id || !same_addr(&f->remote, &k->remote) || !same_addr(&f->local, &k->local) ||
            !fragment_follows(meta, want))
            continue;
        load_barrier();
        if (*(volatile __u32*)&f->version == version && *(volatile __u64*)&f->meta == meta)
            return 1;
    }
    return 0;
}

__weak __noinline int fragment_find(__u32 slot, const struct fragment_key* k, __u32 generation, __u32 now) {
    if (!k)
        return 0;
    return k->six ? fragment_find6(slot, k, fragment_meta(k, generation, now))
                  : fragment_find4(slot, k, fragment_meta(k, generation, now));
}

/* Which place: one that is empty or waited too long, else by the packet's number, but never its sibling's. */
INLINE int fragment_is_free(__u64 meta, __u32 now) {
    return !(meta >> PENSTOCK_FRAGMENT_SET & 1) || ((now - FRAGMENT_FIELD(meta, SEEN, 12)) & 0xfff) > FRAGMENT_WAIT;
}

/* The same packet, seen in its other direction: a device that speaks to itself by way of the gateway. */
INLINE int fragment_is_sibling(__u64 meta, __u64 other) {
    return ((meta ^ other) & FRAGMENT_SAME) == 1ULL << PENSTOCK_FRAGMENT_IN;
}

__weak __noinline int fragment_insert(__u32 slot, const struct fragment_key* k, __u32 generation, __u32 now) {
    __u32 zero = 0, place;
    __u64 meta;

    if (!k)
        return 0;
    meta = fragment_meta(k, generation, now);
    place = k->id ^ k->id >> 16; /* IPv6: what counts up is the last byte on the wire */
    place = (place ^ place >> 8 ^ k->in * 2u) & (PENSTOCK_FRAGMENTS - 1);
    if (!k->six) {
        struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);
        struct penstock_fragment4* f;

        if (!state)
            return 0;
        for (__u32 i = 0; i < PENSTOCK_FRAGMENTS; i++)
            if (fragment_is_free(state->fragment[i].meta, now))
                place = i;
        f = &state->fragment[place & (PENSTOCK_FRAGMENTS - 1)];
        if (!fragment_is_free(f->meta, now) && fragment_is_sibling(f->meta, meta))
            f = &state->fragment[(place ^ 1) & (PENSTOCK_FRAGMENTS - 1)];
        __sync_lock_test_and_set(&f->meta, 0);
        *(volatile __u64*)f = ((const __u32*)&k->remote)[3] | (__u64)((const __u32*)&k->local)[3] << 32;
        __sync_lock_test_and_set(&f->meta, meta);
    } else {
        void* table = bpf_map_lookup_elem(&flows_ipv6, &zero);
        struct penstock_flows6* flows = table ? bpf_map_lookup_elem(table, &slot) : NULL;
        struct penstock_fragment6* f;

        if (!flows)
            return 0;
        for (__u32 i = 0; i < PENSTOCK_FRAGMENTS; i++)
            if (fragment_is_free(flows->fragment[i].meta, now))
                place = i;
        f = &flows->fragment[place & (PENSTOCK_FRAGMENTS - 1)];
        if (!fragment_is_free(f->meta, now) && f->id_be == k->id && fragment_is_sibling(f->meta, meta))
            f = &flows->fragment[(place ^ 1) & (PENSTOCK_FRAGMENTS - 1)];
        __sync_fetch_and_add(&f->version, 1);
        __sync_lock_test_and_set(&f->meta, 0);
        f->remote = k->remote;
        f->local = k->local;
        f->id_be = k->id;
        __sync_lock_test_and_set(&f->meta, meta);
    }
    return 1;
}

#endif
