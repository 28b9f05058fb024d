/*
 * What a device asked for lately, so that the answer may come back: 16 flows a device, 4 sets of 4 ways, in the
 * device's own state. Readers take no lock: a flow's version is odd while it is written and changes with every write.
 */
#ifndef PENSTOCK_LIB_FLOW_H
#define PENSTOCK_LIB_FLOW_H

#include "maps.h"
#include "packet.h"

#define SECONDS_SHIFT 30 /* 2^30 ns, about 1.07 s */
#define TCP_IDLE                                                                                                       \
    7200 /* RFC 5382, REQ-5: at least 2 h 4 min for a NAT; a silent flow is judged by its next packet anyway */
#define OTHER_IDLE 300 /* RFC 4787, REQ-5 */

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
    struct penstock_addr local;
    __u16 remote_port_be;
    __u16 local_port_be;
    __u8 proto;
};

INLINE __u32 flow_set(const struct flow_key* k) {
    const __u64* r = (const void*)&k->remote;
    __u64 h =
        (r[0] ^ r[1] ^ ((__u64)k->remote_port_be << 32) ^ ((__u64)k->local_port_be << 48)) * 0x9e3779b97f4a7c15ULL;

    return (h >> 62) * PENSTOCK_FLOW_WAYS;
}

INLINE int flow_matches(const struct penstock_flow* f, const struct flow_key* k) {
    return f->remote_port_be == k->remote_port_be && f->local_port_be == k->local_port_be && f->proto == k->proto &&
           same_addr(&f->remote, &k->remote) && same_addr(&f->local, &k->local);
}

/* A consistent look at one flow. */
struct flow_view {
    __u32 index; /* into penstock_device_state.flow */
    __u32 version;
    __u32 generation;
    __u32 tunnel;
};

INLINE struct penstock_flow* flow_at(__u32 slot, __u32 index) {
    struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);

    return state ? &state->flow[index & (PENSTOCK_FLOW_SETS * PENSTOCK_FLOW_WAYS - 1)] : NULL;
}

/* Looks for a live flow of the device; 1 and *view if there is one. Global, so that the verifier walks it once. */
__weak __noinline int flow_find(__u32 slot, const struct flow_key* k, __u32 now, struct flow_view* view) {
    struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);
    __s32 idle;
    __u32 set;

    if (!state || !k || !view)
        return 0;
    set = flow_set(k);
    idle = k->proto == IPPROTO_TCP ? TCP_IDLE : OTHER_IDLE;
    for (__u32 way = 0; way < PENSTOCK_FLOW_WAYS; way++) {
        __u32 index = (set + way) & (PENSTOCK_FLOW_SETS * PENSTOCK_FLOW_WAYS - 1);
        struct penstock_flow* f = &state->flow[index];
        __u32 version = *(volatile __u32*)&f->version;

        if (version == 0 || version & 1)
            continue;
        load_barrier();
        /* Signed: another CPU may have stored a later time than ours. */
        if (!flow_matches(f, k) || (__s32)(now - f->last_seen) > idle)
            continue;
        view->generation = f->generation;
        view->tunnel = f->tunnel;
        load_barrier();
        if (*(volatile __u32*)&f->version != version)
            continue;
        view->index = index;
        view->version = version;
        if (f->last_seen != now)
            f->last_seen = now;
        return 1;
    }
    return 0;
}

INLINE int flow_lock(struct penstock_flow* f, __u32 version) {
    return !(version & 1) && __sync_val_compare_and_swap(&f->version, version, version + 1) == version;
}

/* Ends a write that flow_lock began: the next even number, but never 0, which means "never used". */
INLINE void flow_unlock(struct penstock_flow* f, __u32 version) {
    __sync_fetch_and_add(&f->version, version + 2 == 0 ? 3 : 1);
}

/* Notes that `generation` allows the flow too, through the tunnel of the view. */
INLINE void flow_confirm(__u32 slot, const struct flow_view* view, __u32 generation) {
    struct penstock_flow* f = flow_at(slot, view->index);

    if (!f || !flow_lock(f, view->version))
        return;
    f->tunnel = view->tunnel;
    f->generation = generation;
    flow_unlock(f, view->version);
}

/* Remembers a flow in place of the empty or oldest one of its set. Loses silently against another CPU that writes the
 * same one: the device's next packet tries again. */
__weak __noinline int flow_insert(__u32 slot, const struct flow_key* k, __u32 generation, __u32 tunnel, __u32 now) {
    struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);
    __u32 set, victim, version;
    __s32 oldest = -1;
    struct penstock_flow* f;

    if (!state || !k)
        return 0;
    set = victim = flow_set(k);
    for (__u32 way = 0; way < PENSTOCK_FLOW_WAYS; way++) {
        __u32 index = (set + way) & (PENSTOCK_FLOW_SETS * PENSTOCK_FLOW_WAYS - 1);
        __s32 age;

        f = &state->flow[index];
        age = f->version == 0 ? 0x7fffffff : (__s32)(now - f->last_seen);
        if (age >= oldest) {
            oldest = age;
            victim = index;
        }
    }
    f = &state->flow[victim & (PENSTOCK_FLOW_SETS * PENSTOCK_FLOW_WAYS - 1)];
    version = *(volatile __u32*)&f->version;
    if (!flow_lock(f, version))
        return 0;
    f->remote = k->remote;
    f->local = k->local;
    f->remote_port_be = k->remote_port_be;
    f->local_port_be = k->local_port_be;
    f->proto = k->proto;
    f->tunnel = tunnel;
    f->generation = generation;
    f->last_seen = now;
    flow_unlock(f, version);
    return 1;
}

INLINE __u32 flow_now(void) { return bpf_ktime_get_coarse_ns() >> SECONDS_SHIFT; }

#endif
