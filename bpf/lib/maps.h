/* The maps and the configuration that the programs share. Weak: the linker makes one of each. */
#ifndef PENSTOCK_LIB_MAPS_H
#define PENSTOCK_LIB_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "../penstock_abi.h"

/* After a look for NULL: clang shall not add an offset before it, which the verifier refuses. */
#define CHECKED(pointer) asm volatile("" : "+r"(pointer))

char LICENSE[] SEC("license") = "GPL";

/* Mistakes that the property test must find, one at a time: only its own build of the programs has them
 * (tests/property). Their list is tests/property/faults.hpp. */
#ifdef PENSTOCK_FAULTS
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} fault __weak SEC(".maps");

const volatile __u32 fault_key __weak = 0; /* not on the stack, of which clang 19 leaves nothing over */

static __always_inline int is_fault(__u32 number) {
    const __u32* value = bpf_map_lookup_elem(&fault, (const void*)&fault_key);

    return value && *value == number;
}
#define FAULT(number) is_fault(number)
#else
#define FAULT(number) 0
#endif

/* Our bits of skb->mark: two adjacent ones. */
const volatile __u32 mark_mask __weak = 0x30000000;
const volatile __u32 mark_device __weak = 0x10000000; /* caused by a device, not yet encrypted */
const volatile __u32 mark_esp __weak = 0x20000000;    /* set by the SA on what it encrypted */
const volatile __u32 mark_ike __weak = 0x30000000;    /* the sockets of penstock-ike */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PENSTOCK_GATE_ENTRIES);
    __type(key, __u32);
    __type(value, __u32);
} gate __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct penstock_link);
} links __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, struct penstock_carrier);
    __type(value, __u32);
} carriers __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, struct penstock_host_address);
    __type(value, __u8);
} host_addresses __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, struct penstock_sa_key);
    __type(value, __u32);
} sas __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PENSTOCK_NEAR);
    __type(key, __u32);
    __type(value, struct penstock_near_link);
} near_links __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PENSTOCK_NEAR);
    __type(key, __u32);
    __type(value, struct penstock_sa_key);
} near_sas __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PENSTOCK_MAX_TUNNELS);
    __type(key, __u32);
    __type(value, struct penstock_tunnel);
} tunnels __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PENSTOCK_MAX_SELECTORS);
    __type(key, __u32);
    __type(value, struct penstock_selector);
} selectors __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, PENSTOCK_MAX_ESSENTIALS);
    __type(key, __u32);
    __type(value, struct penstock_essential);
} essentials __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, PENSTOCK_MAX_NETWORKS);
    __type(key, struct penstock_network);
    __type(value, __u8);
} guarded_networks __weak SEC(".maps");

/* Sizes, not types: clang leaves the types of inner maps out of the BTF. */
#define TABLE_FLAGS (BPF_F_INNER_MAP | BPF_F_MMAPABLE)

struct policy_inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, TABLE_FLAGS);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct penstock_cell));
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct policy_inner);
} policy __weak SEC(".maps");

/* Flows a device and family; the agent sets it before loading, and with it the value sizes of the two maps below. */
const volatile __u32 flow_capacity __weak = 64;

struct flows_ipv6_inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, TABLE_FLAGS);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct penstock_flows6) + 64 * (1 + sizeof(struct penstock_flow6)));
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 1);
    __type(key, __u32);
    __array(values, struct flows_ipv6_inner);
} flows_ipv6 __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1); /* the agent sets it from the configuration before loading */
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct penstock_device_state) + 64 * (1 + sizeof(struct penstock_flow4)));
} device_state __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PENSTOCK_MAX_TOTALS);
    __type(key, __u32);
    __type(value, __u64);
} total_rates __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, PENSTOCK_DROP_REASON_MAX);
    __type(key, __u32);
    __type(value, struct penstock_drop_count);
} drops __weak SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 18);
} events __weak SEC(".maps");

#endif
