/*
 * Keys, values and events that the BPF programs share with the agent. Compiles as C, BPF C and C++.
 *
 * Addresses are 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). Fields named *_be are in
 * network byte order, all others in host byte order. Padding is explicit and zero, because hash maps compare it.
 */
#ifndef PENSTOCK_ABI_H
#define PENSTOCK_ABI_H

#include <linux/types.h>

#include "drop_reasons.h"

/* Part of every pin's path. Raise it when a layout below changes: the agent then builds new maps beside the old ones.
 */
#define PENSTOCK_ABI_VERSION 2

#define PENSTOCK_MAX_TUNNELS 16
#define PENSTOCK_MAX_SELECTORS 64
#define PENSTOCK_MAX_NETWORKS 1024
#define PENSTOCK_MAX_RULES 64 /* in one block */
#define PENSTOCK_FLOW_SETS 4
#define PENSTOCK_FLOW_WAYS 4

#ifdef __cplusplus
#define PENSTOCK_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#else
#define PENSTOCK_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#endif

struct penstock_addr {
    __u8 bytes[16];
};
PENSTOCK_SIZE(struct penstock_addr, 16);

/* ---- map gate: array of u32, one writer an entry ---- */

enum penstock_gate_entry {
    PENSTOCK_GATE_GENERATION = 0, /* of the policy; its lowest bit selects the tables; 0: none */
    PENSTOCK_GATE_FLAGS = 1,      /* enum penstock_gate_flags */
    PENSTOCK_GATE_ENTRIES
};

enum penstock_gate_flags {
    PENSTOCK_ESP_USER = 1 << 0,         /* ESP comes from the IKE socket, not from the kernel */
    PENSTOCK_HOST_EGRESS_OPEN = 1 << 1, /* sockets of the gateway may send from the uplink's address */
};

/* ---- map links: hash, ifindex (u32) -> what the interface is ---- */

enum penstock_link_role {
    PENSTOCK_LINK_OTHER = 0, /* guarded, nothing passes */
    PENSTOCK_LINK_LAN = 1,
    PENSTOCK_LINK_UPLINK = 2,
    PENSTOCK_LINK_TUNNEL = 3, /* TUN of the userspace ESP */
};

struct penstock_link {
    __u8 role;
    __u8 l2_len; /* bytes before the IP header: 14 (Ethernet) or 0 (raw IP) */
    __u8 pad[2];
};
PENSTOCK_SIZE(struct penstock_link, 4);

/* ---- map host_addresses: hash, the gateway's own addresses on LAN and uplink -> 1 (u8) ---- */

struct penstock_host_address {
    struct penstock_addr address;
    __u32 ifindex;
};
PENSTOCK_SIZE(struct penstock_host_address, 20);

/* ---- map sas: hash, outbound SA -> tunnel index (u32). SPI 0 stands for the peer itself (IKE, later fragments of
 * ESP). ----
 */

struct penstock_sa_key {
    struct penstock_addr destination; /* outer */
    __u32 spi_be;
};
PENSTOCK_SIZE(struct penstock_sa_key, 20);

/* ---- map tunnels: array[PENSTOCK_MAX_TUNNELS]; an SA of tunnel i has reqid i + 1 ---- */

struct penstock_tunnel {
    __u32 up; /* 1: an outbound SA is installed */
};
PENSTOCK_SIZE(struct penstock_tunnel, 4);

/* ---- map selectors: array[PENSTOCK_MAX_SELECTORS], remote networks of the tunnels; the first unused one ends it ----
 */

struct penstock_selector {
    struct penstock_addr address;
    struct penstock_addr mask;
    __u32 tunnel;
    __u32 used;
};
PENSTOCK_SIZE(struct penstock_selector, 40);

/* ---- map guarded_networks: LPM trie, networks of the tunnels, of both ends, and of the LAN interfaces -> 1 (u8) ----
 */

struct penstock_network {
    __u32 bits; /* 0..128, of the mapped address */
    struct penstock_addr address;
};
PENSTOCK_SIZE(struct penstock_network, 20);

/* ---- map device_table: array of 2 maps (by generation & 1): hash, source address -> device ---- */

struct penstock_device {
    __u8 mac[6];
    __u8 pad[2];
    __u32 slot;  /* index into device_state, kept over policies */
    __u32 block; /* index into the rule table */
};
PENSTOCK_SIZE(struct penstock_device, 16);

/* ---- map mac_table: array of 2 maps: hash, MAC -> slot (u32) ---- */

struct penstock_mac {
    __u8 bytes[6];
    __u8 pad[2];
};
PENSTOCK_SIZE(struct penstock_mac, 8);

/* ---- map rule_table: array of 2 maps: array of rule blocks ---- */

struct penstock_rule {
    struct penstock_addr address; /* destination & mask == address */
    struct penstock_addr mask;
    __u16 port_low;
    __u16 port_span; /* the rule holds for port_low .. port_low + port_span */
    __u8 proto;      /* IPPROTO_TCP or IPPROTO_UDP; 0 ends the block */
    __u8 pad[3];
};
PENSTOCK_SIZE(struct penstock_rule, 40);

struct penstock_rule_block {
    struct penstock_rule rule[PENSTOCK_MAX_RULES];
};
PENSTOCK_SIZE(struct penstock_rule_block, 40 * PENSTOCK_MAX_RULES);

/* ---- map device_state: array, slot -> counters and flows of one device. No device can evict another's flow. ---- */

struct penstock_flow {
    struct penstock_addr remote;
    struct penstock_addr local; /* the device's address */
    __u16 remote_port_be;
    __u16 local_port_be;
    __u8 proto;
    __u8 tunnel;
    __u8 pad[2];
    __u32 generation; /* of the policy that last allowed it */
    __u32 last_seen;  /* CLOCK_MONOTONIC, units of 2^30 ns */
    __u32 version;    /* odd: being written; 0: never used */
    __u32 pad2[3];
};
PENSTOCK_SIZE(struct penstock_flow, 64);

struct penstock_device_state {
    __u64 out_packets; /* device to tunnel */
    __u64 out_bytes;
    __u64 in_packets; /* tunnel to device */
    __u64 in_bytes;
    __u64 dropped;
    __u64 last_seen_ns; /* CLOCK_MONOTONIC, the last frame with this identity */
    __u8 owner[6];      /* MAC of the device that has the slot; the packet path does not read it */
    __u8 owned;         /* 1: owner is set */
    __u8 pad;
    __u64 pad2;
    struct penstock_flow flow[PENSTOCK_FLOW_SETS * PENSTOCK_FLOW_WAYS];
};
PENSTOCK_SIZE(struct penstock_device_state, 64 + 64 * PENSTOCK_FLOW_SETS * PENSTOCK_FLOW_WAYS);

/* ---- map drops: per-CPU array, reason -> count ---- */

struct penstock_drop_count {
    __u64 count;
    __u64 last_event_ns;
};
PENSTOCK_SIZE(struct penstock_drop_count, 16);

/* ---- map events: ring buffer. At most one a reason and CPU in 4 ms; drops counts them all. ---- */

enum penstock_hook {
    PENSTOCK_HOOK_LAN_INGRESS = 0,
    PENSTOCK_HOOK_LAN_EGRESS = 1,
    PENSTOCK_HOOK_UPLINK_EGRESS = 2,
    PENSTOCK_HOOK_UPLINK_INGRESS = 3,
};

struct penstock_drop_event {
    __u64 time_ns; /* CLOCK_MONOTONIC */
    struct penstock_addr source;
    struct penstock_addr destination;
    __u32 ifindex;
    __u16 source_port; /* 0 where the protocol has none */
    __u16 destination_port;
    __u8 mac[6]; /* source */
    __u8 proto;
    __u8 reason;
    __u8 hook;
    __u8 known_slot; /* 1: slot is set */
    __u16 ethertype;
    __u32 slot;
};
PENSTOCK_SIZE(struct penstock_drop_event, 64);

#endif
