/*
 * The world of the benchmarks: N devices, each in five groups of two services, hence ten rules. Compiles as C, BPF C
 * and C++, so that the generator sends exactly what the policy allows.
 *
 * Device d has MAC 02:00:<d>, 10.0.1.0 + d or fd20::100 + d. Service s is one network of ours and one port, UDP if s is
 * even. Devices with the same role are in the same groups.
 */
#ifndef PENSTOCK_BENCH_WORLD_H
#define PENSTOCK_BENCH_WORLD_H

#include <linux/types.h>

#define BENCH_GROUPS 1999 /* a prime: the groups of a device are a walk that meets no group twice */
#define BENCH_GROUPS_PER_DEVICE 5
#define BENCH_RULES_PER_DEVICE 10
#define BENCH_SERVICE_HOST 17       /* the address in each service's network that is sent to */
#define BENCH_DEVICES4 0x0a000100u  /* 10.0.1.0 */
#define BENCH_SERVICES4 0xac100000u /* 172.16.0.0, a /24 each */
#define BENCH_SPI 0xc0ffee01u
#define BENCH_PEER4 0xc0000202u /* 192.0.2.2, 2001:db8:2::2: where the ESP would go */
#define BENCH_FRAME 64          /* bytes: the shortest of Ethernet, without its checksum a little more */
#define BENCH_SOURCE_PORT 40000u

static inline __u32 bench_mix(__u32 x) {
    x *= 0x9e3779b1u;
    x = (x ^ x >> 15) * 0x85ebca6bu;
    return x ^ x >> 13;
}

/* The i-th group of a role. */
static inline __u32 bench_group(__u32 role, __u32 i) {
    __u32 first = bench_mix(role) % BENCH_GROUPS;
    __u32 step = 1 + bench_mix(role ^ 0x5bd1e995u) % (BENCH_GROUPS - 1);

    return (first + i * step) % BENCH_GROUPS;
}

static inline __u16 bench_port(__u32 service) { return (__u16)(1000 + service % 100 * 13); }

/* What the generator is told; it counts what it sent. */
struct bench_settings {
    __u32 devices;
    __u32 roles; /* device d has role d % roles */
    __u32 flows; /* of a device: its first UDP services, at most BENCH_GROUPS_PER_DEVICE */
    __u32 out_ifindex;
    __u32 ipv6;
    __u32 new_flows; /* 1: a random source port every packet */
    __u32 strangers; /* 1: a random MAC that no device has */
    __u32 in_order;  /* 1: all flows one after the other instead of at random */
    __u64 next;      /* flow, with in_order */
    __u64 random;
    __u8 gateway_mac[6];
    __u8 pad[2];
};

#endif
