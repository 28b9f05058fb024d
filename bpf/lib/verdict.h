/* The two exits of every program: pass on to the next program in line, or drop for one reason, counted and told. */
#ifndef PENSTOCK_LIB_VERDICT_H
#define PENSTOCK_LIB_VERDICT_H

#include <linux/pkt_cls.h>

#include "maps.h"
#include "packet.h"

#define NO_SLOT 0xffffffffu

/* A reason tells at most one event a CPU in this time, so that a flood costs a counter and no more. */
#define EVENT_INTERVAL_NS 4000000
/* Claims to addresses are told more often, or one's would be lost in another's flood, but not all of one device. */
#define CLAIM_INTERVAL_NS 2000000
#define CLAIM_DEVICE_INTERVAL_NS 20000000

/* Others may attach behind us; they can only drop more. */
#define PASS TC_ACT_UNSPEC

/* A drop under its one reason, for the programs of every kind. */
__weak __noinline int count_drop(__u32 ifindex, const struct packet* p, __u32 reason_and_hook, __u32 slot) {
    __u32 reason = reason_and_hook & 0xff;
    struct penstock_drop_count* count;
    struct penstock_device_state* state = NULL;
    struct penstock_drop_event* event;
    __u64 now;

    if (!p)
        return 0;
    count = bpf_map_lookup_elem(&drops, &reason);
    if (!count)
        return 0;
    count->count++;
    if (slot != NO_SLOT) {
        state = bpf_map_lookup_elem(&device_state, &slot);
        if (state)
            __sync_fetch_and_add(&state->dropped, 1);
    }
    now = bpf_ktime_get_coarse_ns();
    if (now - count->last_event_ns < (reason == PENSTOCK_DROP_NOT_LEARNT ? CLAIM_INTERVAL_NS : EVENT_INTERVAL_NS))
        return 0;
    if (reason == PENSTOCK_DROP_NOT_LEARNT && state) {
        if (now - state->claim_told_ns < CLAIM_DEVICE_INTERVAL_NS)
            return 0;
        state->claim_told_ns = now;
    }
    count->last_event_ns = now;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event)
        return 0;
    event->time_ns = now;
    event->source = p->source;
    event->destination = p->destination;
    event->ifindex = ifindex;
    event->source_port = bpf_ntohs(p->source_port_be);
    event->destination_port = bpf_ntohs(p->destination_port_be);
    __builtin_memcpy(event->mac, p->mac, 6);
    event->proto = p->proto;
    event->reason = reason;
    event->hook = reason_and_hook >> 8;
    event->known_slot = slot != NO_SLOT;
    event->ethertype = p->ethertype;
    event->slot = slot == NO_SLOT ? 0 : slot;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

__weak __noinline int drop(struct __sk_buff* ctx, const struct packet* p, __u32 reason_and_hook, __u32 slot) {
    count_drop(ctx->ifindex, p, reason_and_hook, slot);
    return TC_ACT_SHOT;
}

#endif
