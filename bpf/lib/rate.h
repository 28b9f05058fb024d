/* What a device, or the devices of a group together, may send in a time: a virtual clock runs ahead by what each packet
 * costs, and may be ahead of the real one by PENSTOCK_BURST_NS before the next packet is refused. Compared and swapped:
 * it never runs backwards. */
#ifndef PENSTOCK_LIB_RATE_H
#define PENSTOCK_LIB_RATE_H

#include "policy.h"

#define MOST_BYTES 0x80000 /* of a packet, before it is segmented */
#define MOST_SEGMENTS 0x10000

/* `most`: what the largest packet costs. A clock that is further ahead than that was set by another policy's rate. */
INLINE int fits(__u64* due, __u64 cost, __u64 most, __u64 now_ns) {
    for (int i = 0; i < 4; i++) {
        __u64 old = *(volatile __u64*)due;
        __u64 start = old > now_ns && old - now_ns <= PENSTOCK_BURST_NS + most ? old : now_ns;

        if (start - now_ns > PENSTOCK_BURST_NS)
            return 0;
        if (__sync_val_compare_and_swap(due, old, start + cost) == old)
            return 1;
    }
    return 0;
}

INLINE int bytes_fit(__u64* due, __u64 bytes, __u64 byte_cost, __u64 now_ns) {
    return fits(due, bytes * byte_cost >> 16, byte_cost * (MOST_BYTES >> 16), now_ns);
}

/* What the groups of the device may send, all their devices together. */
__weak __noinline int within_totals(__u32 generation, __u32 block, __u32 bytes, __u64 now_ns) {
    const struct penstock_block* b = find_block(generation, block);
    void* table = policy_of(generation);

    if (!b || !table)
        return 0;
    for (__u32 i = 0; i < PENSTOCK_MAX_GROUPS_PER_DEVICE && i < b->total_count; i++) {
        const struct penstock_cell* cell = cell_of(table, b->totals + i / 4);
        __u32 bucket;
        __u64* due;

        if (!cell)
            return 0;
        CHECKED(cell);
        bucket = cell->total[i & 3].bucket;
        due = bpf_map_lookup_elem(&total_rates, &bucket);
        if (!due || !bytes_fit(due, bytes, cell->total[i & 3].byte_cost, now_ns))
            return 0;
    }
    return 1;
}

__weak __noinline int within_rate(struct __sk_buff* ctx, __u32 generation, __u32 block, __u32 slot) {
    const struct penstock_block* b = find_block(generation, block);
    struct penstock_device_state* state = bpf_map_lookup_elem(&device_state, &slot);
    __u64 now_ns = bpf_ktime_get_coarse_ns();
    __u64 packets = ctx->gso_segs > 1 ? ctx->gso_segs : 1;

    if (!b || !state)
        return 0;
    if (b->packet_cost && !fits(&state->packets_due, packets * b->packet_cost, MOST_SEGMENTS * b->packet_cost, now_ns))
        return 0;
    if (b->byte_cost && !bytes_fit(&state->bytes_due, ctx->len, b->byte_cost, now_ns))
        return 0;
    return !b->total_count || within_totals(generation, block, ctx->len, now_ns);
}

#endif
