/* Services of the gateway itself that the configuration lists: protocol, port, networks, and whose socket it is. */
#ifndef PENSTOCK_LIB_ESSENTIALS_H
#define PENSTOCK_LIB_ESSENTIALS_H

#include "policy.h"

#define CGROUP_DEPTH 16

/* Was the packet's socket made in this cgroup or below? A request socket stands for its listener; no socket for nobody.
 */
INLINE int is_owned_by(struct __sk_buff* ctx, __u64 cgroup) {
    for (int level = 1; level < CGROUP_DEPTH; level++) {
        __u64 id = bpf_skb_ancestor_cgroup_id(ctx, level);

        if (id == cgroup)
            return 1;
        if (id == 0)
            return 0;
    }
    return 0;
}

/* A TCP segment that begins a connection: a service that answers does not. */
INLINE int begins(struct __sk_buff* ctx, const struct packet* p) {
    __u8 flags;

    if (p->proto != IPPROTO_TCP)
        return 0;
    return bpf_skb_load_bytes(ctx, p->l4 + 13, &flags, 1) < 0 || (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A global function: the verifier walks it once. Source address and guarded destinations are the caller's to judge. */
__weak __noinline int essential_allows(struct __sk_buff* ctx, const struct packet* p) {
    if (!p || p->fragment || p->options)
        return 0;
    for (__u32 i = 0; i < PENSTOCK_MAX_ESSENTIALS; i++) {
        __u32 index = i;
        const struct penstock_essential* e = bpf_map_lookup_elem(&essentials, &index);

        if (!e)
            return 0;
        if (e->proto == p->proto && bpf_htons(e->port) == (e->local ? p->source_port_be : p->destination_port_be) &&
            in_prefix(&p->destination, &e->mask, &e->address) && !(e->local && begins(ctx, p)) &&
            is_owned_by(ctx, e->cgroup))
            return 1;
    }
    return 0;
}

#endif
