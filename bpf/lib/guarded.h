/* Addresses that belong behind the gate or behind a tunnel. On an uplink, in clear, even asking for one tells of a
 * device. */
#ifndef PENSTOCK_LIB_GUARDED_H
#define PENSTOCK_LIB_GUARDED_H

#include "policy.h"

INLINE int in_guarded_network(const struct penstock_addr* a) {
    struct penstock_network key = {.bits = 128, .address = *a};

    return bpf_map_lookup_elem(&guarded_networks, &key) != NULL;
}

/* A device may have an address outside every network of the configuration. */
INLINE int is_guarded(const struct penstock_addr* a) {
    __u32 generation = read_generation();

    return in_guarded_network(a) || (generation != 0 && find_device(generation, a));
}

#endif
