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
#define PENSTOCK_ABI_VERSION 6

#define PENSTOCK_MAX_TUNNELS 16
#define PENSTOCK_MAX_SELECTORS 64
#define PENSTOCK_MAX_NETWORKS 1024
#define PENSTOCK_MAX_ESSENTIALS 64
#define PENSTOCK_MAX_RULES 64 /* in one block */
#define PENSTOCK_MIN_FLOWS 16 /* of a device and a family; a power of two */
#define PENSTOCK_MAX_FLOWS 256
#define PENSTOCK_FRAGMENTS 4 /* fragmented packets under way, of a device and a family */
#define PENSTOCK_PROBES 32   /* places of a hash table in which a key may be */
#define PENSTOCK_MAX_GROUPS_PER_DEVICE 64
#define PENSTOCK_MAX_TOTALS 4096    /* groups of a policy */
#define PENSTOCK_BURST_NS 250000000 /* a rate is kept over this time and one packet */

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
    PENSTOCK_GATE_LATCH = 2,      /* set to 1 by the witness program, to 0 by an operator; 1: nothing is forwarded */
    PENSTOCK_GATE_WITNESSED_NETNS = 3, /* inode number of the network namespace that the witness looks at; 0: none */
    PENSTOCK_GATE_ENTRIES
};

enum penstock_gate_flags {
    PENSTOCK_ESP_USER = 1 << 0,         /* ESP comes from the IKE socket, not from the kernel */
    PENSTOCK_HOST_EGRESS_OPEN = 1 << 1, /* sockets of the gateway may send from the uplink's address */
    PENSTOCK_DHCP_OWNED = 1 << 2,       /* DHCP has an owner among the essentials; else any local socket may speak it */
};

/* ---- map links: hash, ifindex (u32) -> what the interface is ---- */

enum penstock_link_role {
    PENSTOCK_LINK_OTHER = 0, /* guarded, nothing passes */
    PENSTOCK_LINK_LAN = 1,
    PENSTOCK_LINK_UPLINK = 2,
    PENSTOCK_LINK_TUNNEL = 3,  /* TUN of the userspace ESP */
    PENSTOCK_LINK_CARRIER = 4, /* below an uplink: what is not a frame of that one does not pass */
};

enum penstock_link_flags {
    PENSTOCK_LINK_CARRIES = 1 << 0, /* the map carriers has it: every CARRIER, and an uplink with another above it */
    PENSTOCK_LINK_PPPOE = 1 << 1,   /* an uplink's PPPoE client speaks on it */
    PENSTOCK_LINK_LACP = 1 << 2,    /* port of an uplink's bond */
};

struct penstock_link {
    __u8 role;
    __u8 l2_len; /* bytes before the IP header: 14 (Ethernet) or 0 (raw IP) */
    __u8 flags;  /* enum penstock_link_flags */
    __u8 pad;
};
PENSTOCK_SIZE(struct penstock_link, 4);

/* ---- map carriers: hash, an interface and a header that a frame on it begins with -> ifindex (u32) of the interface
 * whose frame it is: a VLAN (id: VID), a PPPoE session (id: its number); with neither (0, 0) the bond or bridge that it
 * is a port of ---- */

struct penstock_carrier {
    __u32 ifindex;
    __u16 ethertype; /* ETH_P_8021Q, ETH_P_8021AD, ETH_P_PPP_SES, 0 */
    __u16 id;
};
PENSTOCK_SIZE(struct penstock_carrier, 8);

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

/* ---- maps near_links and near_sas: arrays that hold what the hashes links and sas hold, if it came last to its place
 * (ifindex, or SPI in host byte order, modulo PENSTOCK_NEAR). An entry of another one says nothing. The uplink's
 * program finds most of what it needs there, for less than a hash costs. SPI 0: empty. ---- */

#define PENSTOCK_NEAR 64

struct penstock_near_link {
    __u32 ifindex;
    struct penstock_link link;
};
PENSTOCK_SIZE(struct penstock_near_link, 8);

/* ---- map tunnels: array[PENSTOCK_MAX_TUNNELS]; an SA of tunnel i has reqid i + 1 ---- */

struct penstock_tunnel {
    __u32 up;  /* 1: an outbound SA is installed */
    __u32 mtu; /* the largest IP packet that fits into it; 0: not known */
};
PENSTOCK_SIZE(struct penstock_tunnel, 8);

/* ---- map selectors: array[PENSTOCK_MAX_SELECTORS], remote networks of the tunnels; the first unused one ends it ----
 */

struct penstock_selector {
    struct penstock_addr address;
    struct penstock_addr mask;
    __u32 tunnel;
    __u32 used;
};
PENSTOCK_SIZE(struct penstock_selector, 40);

/* ---- map essentials: hash, 0, 1, 2 ... -> what a service of the gateway may send; the first that is missing ends it.
 * A hash, because its values are replaced as a whole. ---- */

struct penstock_essential {
    struct penstock_addr address; /* of the other side: destination & mask == address */
    struct penstock_addr mask;
    __u64 cgroup; /* its socket was made in this cgroup (v2 id) or below */
    __u16 port;
    __u8 proto; /* IPPROTO_TCP or IPPROTO_UDP */
    __u8 local; /* 1: the port is ours, and with TCP it does not begin the connection; 0: it is the other side's */
    __u8 pad[4];
};
PENSTOCK_SIZE(struct penstock_essential, 48);

/* ---- map guarded_networks: LPM trie, networks of the tunnels, of both ends, and of the LAN interfaces -> 1 (u8) ----
 */

struct penstock_network {
    __u32 bits; /* 0..128, of the mapped address */
    struct penstock_addr address;
};
PENSTOCK_SIZE(struct penstock_network, 20);

/* ---- map policy: array of 2 maps, by generation & 1: all of a policy in one array of cells of a cache line ---- */

/* Place of a key in a hash table of `count` places. The next PENSTOCK_PROBES - 1 places may hold it too, the first
 * empty one ends the search. */
static inline __u32 penstock_place(__u64 high, __u64 low, __u32 seed, __u32 count) {
    __u64 h = (high ^ seed) * 0x9e3779b97f4a7c15ULL;

    h = ((h ^ (h >> 32)) + low) * 0xd6e8feb86659fd93ULL;
    h = (h ^ (h >> 32)) * 0x9e3779b97f4a7c15ULL;
    return (__u32)(((h >> 32) * count) >> 32);
}

/* Cell 0: where the tables begin. */
struct penstock_policy_info {
    __u32 ipv4_base;     /* address of the first device of the table by IPv4 address */
    __u32 ipv4_count;    /* its length */
    __u32 address_count; /* places of the hash table of all other addresses; 0: none */
    __u32 mac_count;     /* places of the hash table of MACs */
    __u32 block_count;
    __u32 seed;
    __u32 ipv4; /* first cells */
    __u32 addresses;
    __u32 macs;
    __u32 blocks;
    __u32 pad[6];
};
PENSTOCK_SIZE(struct penstock_policy_info, 64);

enum penstock_device_flags {
    PENSTOCK_DEVICE_USED = 1 << 0,   /* 0: an empty place */
    PENSTOCK_DEVICE_BOUND = 1 << 1,  /* to the interface of its MAC's entry */
    PENSTOCK_DEVICE_RATE = 1 << 2,   /* its block limits what it sends */
    PENSTOCK_DEVICE_ARP_ND = 1 << 3, /* may speak ARP and neighbour discovery */
    PENSTOCK_DEVICE_DHCP = 1 << 4,
    PENSTOCK_DEVICE_LEARNS = 1 << 5, /* what it says from an address that nobody has is told: it may get it */
};

struct penstock_device {
    __u8 mac[6];
    __u8 flags;      /* enum penstock_device_flags */
    __u8 address_id; /* 0 .. 15: this address among the device's of its family, as flows call it */
    __u32 slot;      /* index into device_state, kept over policies */
    __u32 block;
};
PENSTOCK_SIZE(struct penstock_device, 16);

struct penstock_device_at {
    struct penstock_device device;
    struct penstock_addr address;
};
PENSTOCK_SIZE(struct penstock_device_at, 32);

struct penstock_mac_entry {
    __u8 mac[6];
    __u8 flags; /* enum penstock_device_flags */
    __u8 pad;
    __u32 slot;
    __u32 ifindex; /* of the LAN it must be seen on */
};
PENSTOCK_SIZE(struct penstock_mac_entry, 16);

enum penstock_lan_services {
    PENSTOCK_LAN_DHCP = 1 << 0,
    PENSTOCK_LAN_DNS = 1 << 1,
    PENSTOCK_LAN_NTP = 1 << 2,
};

/* Rules of one family and direction, those that deny first: the first that matches decides. Four of IPv4 or one of IPv6
 * in a cell. */
struct penstock_rule_range {
    __u32 cell;
    __u16 count;
    __u16 pad;
};
PENSTOCK_SIZE(struct penstock_rule_range, 8);

/* What devices have in common. */
struct penstock_block {
    struct penstock_rule_range rules[2][2]; /* [0: IPv4, 1: IPv6][0: to, 1: from] */
    __u64 byte_cost;                        /* ns * 2^16 a byte; 0: no limit */
    __u64 packet_cost;                      /* ns a packet */
    __u32 groups;                           /* first cell of the device's groups, sixteen (u32) in a cell */
    __u16 group_count;
    __u8 lan;         /* enum penstock_lan_services */
    __u8 total_count; /* of the groups whose devices share a rate */
    __u32 totals;     /* first cell of their struct penstock_total, four in a cell */
    __u8 pad[4];
};
PENSTOCK_SIZE(struct penstock_block, 64);

/* What the devices of a group may send together. */
struct penstock_total {
    __u64 byte_cost; /* as in a block */
    __u32 bucket;    /* index into total_rates */
    __u32 pad;
};
PENSTOCK_SIZE(struct penstock_total, 16);

enum penstock_rule_flags {
    PENSTOCK_RULE_DENY = 1 << 0,
    PENSTOCK_RULE_TLS = 1 << 1,    /* holds for TCP flows that speak TLS */
    PENSTOCK_RULE_DTLS = 1 << 2,   /* for UDP flows that speak DTLS */
    PENSTOCK_RULE_DEVICE = 1 << 3, /* the peer is the device in slot `address` */
    PENSTOCK_RULE_GROUP = 1 << 4,  /* the peer is a device of group `address` */
};

struct penstock_rule4 {
    __u32 address_be; /* peer & mask == address; or a slot or group in host byte order */
    __u32 mask_be;
    __u16 port_low;  /* or type of ICMP */
    __u16 port_span; /* the rule holds for port_low .. port_low + port_span */
    __u8 proto;      /* 0: TCP, UDP, ICMP and ICMPv6 */
    __u8 flags;      /* enum penstock_rule_flags */
    __u8 pad[2];
};
PENSTOCK_SIZE(struct penstock_rule4, 16);

struct penstock_rule6 {
    struct penstock_addr address; /* its first 4 bytes: slot or group */
    struct penstock_addr mask;
    __u16 port_low;
    __u16 port_span;
    __u8 proto;
    __u8 flags;
    __u8 pad[26];
};
PENSTOCK_SIZE(struct penstock_rule6, 64);

struct penstock_cell {
    union {
        struct penstock_policy_info info;
        struct penstock_device device[4];
        struct penstock_device_at at[2];
        struct penstock_mac_entry mac[4];
        struct penstock_block block;
        __u32 group[16];
        struct penstock_total total[4];
        struct penstock_rule4 rule4[4];
        struct penstock_rule6 rule6;
    };
};
PENSTOCK_SIZE(struct penstock_cell, 64);

/* ---- map device_state: array, slot -> counters, and flows over IPv4. No device can evict another's flow. ---- */

/* What a flow is beside its addresses and ports, in one word that is written last and compared and swapped. */
enum penstock_flow_meta {
    PENSTOCK_FLOW_PROTO = 0,       /* 8 bits; the word is 0 in an empty place */
    PENSTOCK_FLOW_ADDRESS = 8,     /* 4 bits: address_id */
    PENSTOCK_FLOW_FROM = 12,       /* 1 bit: the peer began it */
    PENSTOCK_FLOW_USED = 13,       /* 1 bit: seen since the eviction last came by */
    PENSTOCK_FLOW_SECURE = 14,     /* 3 bits: enum penstock_secure */
    PENSTOCK_FLOW_TUNNEL = 17,     /* 5 bits; PENSTOCK_TUNNEL_LAN: the peer is a device */
    PENSTOCK_FLOW_GENERATION = 22, /* 20 bits, of the policy that last allowed it */
    PENSTOCK_FLOW_SEEN = 42,       /* 21 bits, CLOCK_MONOTONIC in units of 2^33 ns: wraps after 208 days */
    PENSTOCK_FLOW_BUSY = 63,       /* 1 bit: being written */
};
#define PENSTOCK_TUNNEL_LAN 31

enum penstock_secure {
    PENSTOCK_SECURE_WANTED = 1 << 0, /* TLS or DTLS is required */
    PENSTOCK_SECURE_CLIENT = 1 << 1, /* who began it has spoken it */
    PENSTOCK_SECURE_SERVER = 1 << 2,
};

struct penstock_flow4 {
    __u32 remote_be;
    __u16 remote_port_be; /* ICMP echo: 8 in host byte order if the device asks, 0 if the peer does */
    __u16 local_port_be;  /* ICMP echo: identifier */
    __u64 meta;
};
PENSTOCK_SIZE(struct penstock_flow4, 16);

/* A packet whose first fragment passed: later ones may follow for a while. */
struct penstock_fragment4 {
    __u32 remote_be;
    __u32 local_be;
    __u64 meta; /* enum penstock_fragment_meta; the IPv4 identification stands in its lowest 16 bits */
};
PENSTOCK_SIZE(struct penstock_fragment4, 16);

enum penstock_fragment_meta {
    PENSTOCK_FRAGMENT_PROTO = 16,      /* 8 bits; IPv6: 0 */
    PENSTOCK_FRAGMENT_IN = 24,         /* 1 bit: towards the device */
    PENSTOCK_FRAGMENT_END = 25,        /* 13 bits: where the first fragment ends, in units of 8 bytes */
    PENSTOCK_FRAGMENT_GENERATION = 38, /* 12 bits */
    PENSTOCK_FRAGMENT_SEEN = 50,       /* 12 bits, units of 2^33 ns */
    PENSTOCK_FRAGMENT_SET = 62,        /* 1 bit */
};

/* A packet of a flow that exists touches the last cache line of this, the tags behind it (with 64 flows a line too, and
 * the neighbour of the other) and one or two of its flows. */
struct penstock_device_state {
    struct penstock_fragment4 fragment[PENSTOCK_FRAGMENTS];
    __u64 dropped;
    __u64 evicted; /* flows that made room for another while they might still have been in use */
    __u8 owner[6]; /* MAC of the device that has the slot; the packet path does not read it */
    __u8 owned;    /* 1: owner is set */
    __u8 pad;
    __u32 hand; /* where the eviction looks next */
    __u32 pad2;
    __u64 claim_told_ns; /* CLOCK_MONOTONIC, the last event of PENSTOCK_DROP_NOT_LEARNT */
    __u32 pad3[6];
    __u64 out_packets; /* device to tunnel */
    __u64 out_bytes;
    __u64 in_packets; /* tunnel to device */
    __u64 in_bytes;
    __u64 last_seen_ns; /* CLOCK_MONOTONIC, the last frame that passed */
    __u64 bytes_due;    /* when what it sent so far would be through at its rate, CLOCK_MONOTONIC ns */
    __u64 packets_due;
    __u64 pad4;
    /* Behind it, for N flows: N tags (u8; 0: empty) and N struct penstock_flow4. */
};
PENSTOCK_SIZE(struct penstock_device_state, 192);

/* ---- map total_rates: array[PENSTOCK_MAX_TOTALS], when what the devices of a group sent so far would be through at
 * its rate (u64, CLOCK_MONOTONIC ns) ---- */

/* ---- map flows_ipv6: array of 1 map, made when the policy first has an IPv6 address: array, slot -> flows ---- */

struct penstock_flow6 {
    struct penstock_addr remote;
    __u16 remote_port_be;
    __u16 local_port_be;
    __u32 version; /* changes with every write */
    __u64 meta;
};
PENSTOCK_SIZE(struct penstock_flow6, 32);

struct penstock_fragment6 {
    struct penstock_addr remote;
    struct penstock_addr local;
    __u32 id_be;
    __u32 version;
    __u64 meta;
};
PENSTOCK_SIZE(struct penstock_fragment6, 48);

struct penstock_flows6 {
    struct penstock_fragment6 fragment[PENSTOCK_FRAGMENTS];
    __u32 hand;
    __u32 pad[15]; /* what follows begins a cache line */
    /* Behind it, for N flows: N tags and N struct penstock_flow6. */
};
PENSTOCK_SIZE(struct penstock_flows6, 256);

/* ---- map drops: per-CPU array, reason -> count ---- */

struct penstock_drop_count {
    __u64 count;
    __u64 last_event_ns;
};
PENSTOCK_SIZE(struct penstock_drop_count, 16);

/* ---- map witness_counts: per-CPU array, enum penstock_seen -> count (u64) ---- */

enum penstock_seen {
    PENSTOCK_SEEN_ESP = 0, /* of a live SA */
    PENSTOCK_SEEN_IKE = 1,
    PENSTOCK_SEEN_HOST = 2,  /* the gateway's own, and names no device */
    PENSTOCK_SEEN_CLEAR = 3, /* what must not be: it latches the gate */
    PENSTOCK_SEEN_KINDS
};

/* ---- map witness_first: array[1], the frame that closed the latch ---- */

struct penstock_sighting {
    __u64 time_ns; /* CLOCK_MONOTONIC */
    struct penstock_addr source;
    struct penstock_addr destination;
    __u8 mac[6]; /* source */
    __u16 ethertype;
    __u32 ifindex;
    __u8 proto;
    __u8 forwarded; /* 1: it came in on another interface */
    __u8 pad[2];
};
PENSTOCK_SIZE(struct penstock_sighting, 56);

/* ---- map events: ring buffer. At most one a reason and CPU in 4 ms; of NOT_LEARNT in 2 ms, and one a device in 20 ms.
 * drops counts them all. ---- */

enum penstock_hook {
    PENSTOCK_HOOK_LAN_INGRESS = 0,
    PENSTOCK_HOOK_LAN_EGRESS = 1,
    PENSTOCK_HOOK_UPLINK_EGRESS = 2,
    PENSTOCK_HOOK_UPLINK_INGRESS = 3,
    PENSTOCK_HOOK_EARLY_DROP = 4,
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
