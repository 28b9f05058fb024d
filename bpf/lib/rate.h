/* What a device may send in a time: a virtual clock runs ahead by what each packet costs, and may be ahead of the real
 * one by PENSTOCK_BURST_NS before the next packet is refused. Compared and swapped: it never runs backwards. */
#ifndef PENSTOCK_LIB_RATE_H
#define PENSTOCK_LIB_RATE_H

#include "policy.h"

INLINE int fits(__u64* due, __u64 cost, __u64 now_ns) {
    for (int i = 0; i < 4; i++) {
        __u64 old = *(volatile __u64*)due;
        __u64 start = old > now_ns ? old : now_ns;

        if (start - now_ns > PENSTOCK_BURST_NS)
            return 0;
        if (__sync_val_compare_and_swap(due, old, start + cost) == old)
            return 1;
    }
    return 0;
}

__weak __noinline int within_rate(struct __sk_buff* ctx, __u32 generation, __u32 block, __u32 slot) {
    const struct penstock_block* b = find_block(generation, block);
    struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);
    __u64 now_ns = bpf_ktime_get_coarse_ns();
    __u64 packets = ctx->gso_segs > 1 ? ctx->gso_segs : 1;

    if (!b || !state)
        return 0;
    if (b->packet_cost && !fits(&state->packets_due, packets * b->packet_cost, now_ns))
        return 0;
    return !b->byte_cost || fits(&state->bytes_due, ctx->len * b->byte_cost >> 16, now_ns);
}

#endif
