/*
 * What a device and its peers began lately, so that answers may pass: N flows a device and family (flow_capacity), in
 * the device's own memory.
 *
 * Every flow has a tag of one byte: eight tags are compared at once, and only a flow whose tag fits is looked at. A tag
 * is a hint, the flow itself is compared in full. Readers take no lock: `meta` is 0 or busy while the rest of a flow is
 * written, and is read again after the rest.
 */
#ifndef PENSTOCK_LIB_FLOW_H
#define PENSTOCK_LIB_FLOW_H

#include "maps.h"
#include "packet.h"

#define SEEN_SHIFT 33   /* units of 2^33 ns, 8.6 s */
#define TCP_IDLE 839    /* 2 h: RFC 5382, REQ-5, asks a NAT for 2 h 4 min; a silent flow is judged by its next packet */
#define OTHER_IDLE 35   /* 5 min: RFC 4787, REQ-5 */
#define FRAGMENT_WAIT 7 /* 60 s: RFC 8200, 4.5 */

#define TAG_FREED 0xff /* a place that was emptied: may be used again, but does not end a search */
#define BYTES(b) (0x0101010101010101ULL * (b))
#define FIELD(meta, name, bits) (((meta) >> PENSTOCK_FLOW_##name) & ((1ULL << (bits)) - 1))
#define BUSY (1ULL << PENSTOCK_FLOW_BUSY)
#define SEEN_MASK (((1ULL << 21) - 1) << PENSTOCK_FLOW_SEEN)
#define USED (1ULL << PENSTOCK_FLOW_USED)

/* Orders two plain loads. x86 keeps them in order; elsewhere a value-returning atomic is a full barrier in BPF. */
#if defined(__TARGET_ARCH_x86)
#define load_barrier() asm volatile("" ::: "memory")
#else
#define load_barrier()                                                                                                 \
    do {                                                                                                               \
        __u32 fence = 0;                                                                                               \
        __sync_val_compare_and_swap(&fence, 1, 1);                                                                     \
    } while (0)
#endif

struct flow_key {
    struct penstock_addr remote;
    __u16 remote_port_be;
    __u16 local_port_be;
    __u8 proto;
    __u8 local; /* address_id of the device's address */
    __u8 six;   /* 1: IPv6 */
    __u8 pad;
};

/* A consistent look at one flow. */
struct flow_view {
    __u64 meta;
    __u32 index;
    __u32 pad;
};

INLINE __u32 flow_now(__u64 ns) { return ns >> SEEN_SHIFT & 0x1fffff; }

INLINE __u32 seen_ago(__u64 meta, __u32 now) {
    __u32 age = (now - FIELD(meta, SEEN, 21)) & 0x1fffff;

    return age > 0x1ffff0 ? 0 : age; /* another CPU's clock was read a little later */
}

INLINE int is_expired(__u64 meta, __u32 now) {
    __u32 lasting = FIELD(meta, PROTO, 8) == IPPROTO_TCP || FIELD(meta, SECURE, 3);

    return seen_ago(meta, now) > (lasting ? TCP_IDLE : OTHER_IDLE);
}

INLINE __u64 key_hash(const struct flow_key* k) {
    const __u64* r = (const void*)&k->remote;
    __u64 ports = k->remote_port_be | (__u64)k->local_port_be << 16 | (__u64)k->proto << 32 | (__u64)k->local << 40;
    __u64 h = (r[0] ^ (r[1] * 0x9e3779b97f4a7c15ULL) ^ ports) * 0xd6e8feb86659fd93ULL;

    return (h ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
}

INLINE __u8 key_tag(__u64 hash) { return (hash >> 57) + 1; }

/* High bit of every byte of `word` that is 0; above such a byte there may be false ones. */
INLINE __u64 zero_bytes(__u64 word) { return (word - BYTES(1)) & ~word & BYTES(0x80); }

/* Number of the lowest byte whose high bit is set. */
INLINE __u32 lowest_byte(__u64 high_bits) {
    __u64 bit = high_bits & -high_bits;

    return ((bit >> 7) * 0x0001020304050607ULL) >> 56;
}

/* The flows of a device in one family: its tags, its flows behind them. `six` is a constant in every call. */
INLINE void* flow_tags(__u32 slot, int six) {
    void* base;

    if (!six) {
        base = bpf_map_lookup_elem(&device_state, &slot);
        if (!base)
            return NULL;
        CHECKED(base);
        return base + sizeof(struct penstock_device_state);
    }
    {
        __u32 zero = 0;
        void* table = bpf_map_lookup_elem(&flows_ipv6, &zero);

        base = table ? bpf_map_lookup_elem(table, &slot) : NULL;
        if (!base)
            return NULL;
        CHECKED(base);
        return base + sizeof(struct penstock_flows6);
    }
}

INLINE __u32* flow_hand(void* tags, int six) {
    if (six)
        return &((struct penstock_flows6*)(tags - sizeof(struct penstock_flows6)))->hand;
    return &((struct penstock_device_state*)(tags - sizeof(struct penstock_device_state)))->hand;
}

INLINE void* flow_at(void* tags, __u32 index, int six) {
    __u32 size = six ? sizeof(struct penstock_flow6) : sizeof(struct penstock_flow4);

    return tags + flow_capacity + (index & (flow_capacity - 1)) * size;
}

INLINE __u64* meta_of(void* flow, int six) {
    return six ? &((struct penstock_flow6*)flow)->meta : &((struct penstock_flow4*)flow)->meta;
}

/* Brings a cache line on its way; BPF has no prefetch. */
INLINE void touch(const void* at) { (void)*(volatile const __u64*)at; }

/* Meta of the flow if it is this one, else 0. */
INLINE __u64 flow_match(void* flow, const struct flow_key* k, int six) {
    __u64 meta = *(volatile __u64*)meta_of(flow, six);
    __u64 want = (__u64)k->proto << PENSTOCK_FLOW_PROTO | (__u64)k->local << PENSTOCK_FLOW_ADDRESS;

    if (((meta ^ want) & 0xfff) || meta & BUSY)
        return 0;
    load_barrier();
    if (six) {
        struct penstock_flow6* f = flow;
        __u32 version = *(volatile __u32*)&f->version;

        load_barrier();
        if (!same_addr(&f->remote, &k->remote) || f->remote_port_be != k->remote_port_be ||
            f->local_port_be != k->local_port_be)
            return 0;
        load_barrier();
        if (*(volatile __u32*)&f->version != version)
            return 0;
    } else {
        struct penstock_flow4* f = flow;
        __u64 key = *(volatile __u64*)f; /* in one load */

        if ((__u32)key != ((const __u32*)&k->remote)[3] ||
            key >> 32 != (k->remote_port_be | (__u32)k->local_port_be << 16))
            return 0;
        load_barrier();
    }
    return *(volatile __u64*)meta_of(flow, six) == meta ? meta : 0;
}

INLINE int flow_look_at(void* tags, const struct flow_key* k, __u32 index, __u32 now, struct flow_view* view, int six) {
    void* flow = flow_at(tags, index, six);
    __u64 meta = flow_match(flow, k, six);

    if (!meta || is_expired(meta, now))
        return 0;
    view->meta = meta;
    view->index = index;
    /* Once in 8.6 s, or after the eviction came by. */
    if (!(meta & USED) || FIELD(meta, SEEN, 21) != now) {
        __u64 fresh = (meta & ~SEEN_MASK) | USED | (__u64)now << PENSTOCK_FLOW_SEEN;

        if (__sync_val_compare_and_swap(meta_of(flow, six), meta, fresh) == meta)
            view->meta = fresh;
    }
    return 1;
}

/* Global functions, so that the verifier walks them once, and not with every tag that fits or every path that leads
 * here. Is it this flow that stands at `index`, and alive? Then 1 and *view. */
__weak __noinline int flow_look(__u32 slot, const struct flow_key* k, __u32 index, __u32 now, struct flow_view* view) {
    void* tags;

    if (!k || !view)
        return 0;
    if (!k->six) {
        tags = flow_tags(slot, 0);
        return tags ? flow_look_at(tags, k, index, now, view, 0) : 0;
    }
    tags = flow_tags(slot, 1);
    return tags ? flow_look_at(tags, k, index, now, view, 1) : 0;
}

INLINE int flow_search(void* tags, __u32 slot, const struct flow_key* k, __u32 now, struct flow_view* view, int six) {
    __u64 hash = key_hash(k);
    __u64 tag = BYTES(key_tag(hash));
    __u32 words = flow_capacity / 8;

    /* A device with a few flows has them here: fetched while the tags are on their way, they are not waited for twice.
     */
    touch(flow_at(tags, 0, six));
    for (__u32 w = 0; w < words; w++) {
        __u64 word = *(volatile __u64*)(tags + w * 8);
        __u64 hits = zero_bytes(word ^ tag);

        for (int n = 0; n < 8 && hits; n++, hits &= hits - 1)
            if (flow_look(slot, k, w * 8 + lowest_byte(hits), now, view))
                return 1;
        if (zero_bytes(word)) /* a flow is never put behind an empty place */
            return 0;
    }
    return 0;
}

/* Looks for a live flow of the device; 1 and *view if there is one. */
__weak __noinline int flow_find(__u32 slot, const struct flow_key* k, __u32 now, struct flow_view* view) {
    void* tags;

    if (!k || !view)
        return 0;
    if (!k->six) {
        tags = flow_tags(slot, 0);
        return tags ? flow_search(tags, slot, k, now, view, 0) : 0;
    }
    tags = flow_tags(slot, 1);
    return tags ? flow_search(tags, slot, k, now, view, 1) : 0;
}

/* Changes the meta of a flow that was found; not if it became another flow meanwhile. */
__weak __noinline int flow_change(__u32 slot, __u32 six, const struct flow_view* view, __u64 meta) {
    void* tags = six ? flow_tags(slot, 1) : flow_tags(slot, 0);
    __u64 expected, found, *place;

    if (!tags || !view)
        return 0;
    place = six ? meta_of(flow_at(tags, view->index, 1), 1) : meta_of(flow_at(tags, view->index, 0), 0);
    expected = view->meta;
    for (int i = 0; i < 4; i++) {
        found = __sync_val_compare_and_swap(place, expected, meta);
        if (found == expected)
            return 1;
        if ((found ^ expected) & ~(SEEN_MASK | USED))
            return 0;
        expected = found;
    }
    return 0;
}

/* One step of the hand of a clock over the flows: the index of one that may make room, or -1. A flow that was used
 * since the hand came by gets another round. The device's own flows never push out those its peers began, nor these the
 * device's beyond a quarter of the places. */
__weak __noinline int flow_clock(__u32 slot, __u32 six, __u32 from, __u32 now) {
    void* tags = six ? flow_tags(slot, 1) : flow_tags(slot, 0);
    __u32 index;
    __u64 *place, meta;

    if (!tags)
        return -1;
    index = (six ? (*flow_hand(tags, 1))++ : (*flow_hand(tags, 0))++) & (flow_capacity - 1);
    place = six ? meta_of(flow_at(tags, index, 1), 1) : meta_of(flow_at(tags, index, 0), 0);
    meta = *(volatile __u64*)place;
    if (meta & BUSY)
        return -1;
    if (is_expired(meta, now))
        return index;
    if (from ? !FIELD(meta, FROM, 1) && index < flow_capacity - flow_capacity / 4 : FIELD(meta, FROM, 1))
        return -1;
    if (!(meta & USED))
        return index;
    __sync_val_compare_and_swap(place, meta, meta & ~USED);
    return -1;
}

/* The place for a new flow: the first empty one, so that few flows are few cache lines; else where the clock stops.
 * flow_capacity if there is none. */
INLINE __u32 flow_place(__u32 slot, void* tags, __u32 from, __u32 now, int six) {
    __u32 words = flow_capacity / 8;

    for (__u32 w = 0; w < words; w++) {
        __u64 word = *(volatile __u64*)(tags + w * 8);
        __u64 hits = zero_bytes(word);

        if (!hits)
            hits = zero_bytes(~word);
        if (hits)
            return w * 8 + lowest_byte(hits);
    }
    for (__u32 n = 0; n < 2 * flow_capacity; n++) {
        int index = flow_clock(slot, six, from, now);

        if (index >= 0)
            return index;
    }
    return flow_capacity;
}

INLINE int flow_write(__u32 slot, void* tags, const struct flow_key* k, __u64 meta, __u32 now, int six) {
    __u64 hash = key_hash(k), old;
    __u32 index = flow_place(slot, tags, FIELD(meta, FROM, 1), now, six);
    __u64* place;
    void* flow;

    if (index >= flow_capacity)
        return 0;
    flow = flow_at(tags, index, six);
    place = meta_of(flow, six);
    old = *(volatile __u64*)place;
    if (old & BUSY || __sync_val_compare_and_swap(place, old, BUSY) != old)
        return 0; /* another CPU takes it; the device's next packet tries again */
    if (old && !is_expired(old, now)) {
        struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);

        if (state)
            __sync_fetch_and_add(&state->evicted, 1);
    }
    if (six) {
        struct penstock_flow6* f = flow;

        __sync_fetch_and_add(&f->version, 1);
        f->remote = k->remote;
        f->remote_port_be = k->remote_port_be;
        f->local_port_be = k->local_port_be;
    } else {
        *(volatile __u64*)flow =
            ((const __u32*)&k->remote)[3] | (__u64)k->remote_port_be << 32 | (__u64)k->local_port_be << 48;
    }
    *(volatile __u8*)(tags + (index & (flow_capacity - 1))) = key_tag(hash);
    __sync_lock_test_and_set(place, meta);
    return 1;
}

/* Remembers a flow. `meta` without USED and SEEN. */
__weak __noinline int flow_insert(__u32 slot, const struct flow_key* k, __u64 meta, __u32 now) {
    void* tags;

    if (!k)
        return 0;
    meta |= (__u64)k->proto << PENSTOCK_FLOW_PROTO | (__u64)k->local << PENSTOCK_FLOW_ADDRESS |
            (__u64)now << PENSTOCK_FLOW_SEEN;
    if (!k->six) {
        tags = flow_tags(slot, 0);
        return tags ? flow_write(slot, tags, k, meta, now, 0) : 0;
    }
    tags = flow_tags(slot, 1);
    return tags ? flow_write(slot, tags, k, meta, now, 1) : 0;
}

#endif
