/*
 * `require: tls` and `require: dtls`: who began a flow speaks first, and the first data of each side is the beginning
 * of a TLS record (RFC 8446, 5.1; RFC 5246, 6.2.1) or of a DTLS one (RFC 6347, 4.1; RFC 9147, 4). Stops mistakes, not
 * somebody who forges a record's header.
 *
 * TCP: a side's first segment with data holds the header of a record whole, or is dropped; one that overtook it looks
 * like the middle of something and is dropped too, and comes again. UDP: every datagram is looked at.
 */
#ifndef PENSTOCK_LIB_SECURE_H
#define PENSTOCK_LIB_SECURE_H

#include "maps.h"
#include "packet.h"

#define RECORD_ALERT 21
#define RECORD_HANDSHAKE 22
#define RECORD_MAX (16384 + 256)

INLINE int opens_tls(const __u8 h[5], int client) {
    __u32 length = h[3] << 8 | h[4];

    if (h[0] != RECORD_HANDSHAKE && (client || h[0] != RECORD_ALERT))
        return 0;
    return h[1] == 3 && h[2] <= 4 && length >= 1 && length <= RECORD_MAX;
}

/* h: 13 bytes, zeroes beyond the datagram's `size`. */
INLINE int is_dtls(const __u8 h[13], __u32 size, int opening, int client) {
    __u32 length = h[11] << 8 | h[12];

    if (!opening && (h[0] & 0xe0) == 0x20) /* RFC 9147's unified header, with a connection ID or without */
        return size >= 3;
    if (size < 13 || h[1] != 0xfe || (h[2] != 0xff && h[2] != 0xfd && h[2] != 0xfc))
        return 0;
    if (!opening && h[0] == 25) /* RFC 9146: the connection ID stands before the length */
        return 1;
    if (length < 1 || length > size - 13)
        return 0;
    if (opening)
        return h[0] == RECORD_HANDSHAKE || (!client && h[0] == RECORD_ALERT);
    return (h[0] >= 20 && h[0] <= 24) || h[0] == 26; /* 26: RFC 9147's ACK */
}

INLINE __u32 secure_tcp(struct __sk_buff* ctx, const struct packet* p, __u32 state, __u32 bit) {
    __u32 header = p->tcp_words * 4;
    __u8 h[5] = {};

    if (p->tcp_flags & TCP_SYN && !(p->tcp_flags & TCP_ACK) && bit == PENSTOCK_SECURE_CLIENT)
        state = PENSTOCK_SECURE_WANTED; /* a connection anew */
    if (state & bit || (FAULT(18) && bit == PENSTOCK_SECURE_SERVER))
        return state;
    if (p->l4_len <= header)
        return p->fragment ? 0 : state; /* its data would come in later fragments, unseen */
    if (bit == PENSTOCK_SECURE_SERVER && !(state & PENSTOCK_SECURE_CLIENT))
        return 0;
    if (p->l4_len < header + sizeof(h) || bpf_skb_load_bytes(ctx, p->l4 + header, h, sizeof(h)) < 0)
        return 0;
    return opens_tls(h, bit == PENSTOCK_SECURE_CLIENT) ? state | bit : 0;
}

INLINE __u32 secure_udp(struct __sk_buff* ctx, const struct packet* p, __u32 state, __u32 bit) {
    __u32 size = p->l4_len - 8;
    __u8 h[13] = {};

    if (size == 0)
        return p->fragment ? 0 : state;
    if (bit == PENSTOCK_SECURE_SERVER && !(state & PENSTOCK_SECURE_CLIENT))
        return 0;
    if (size >= sizeof(h) ? bpf_skb_load_bytes(ctx, p->l4 + 8, h, sizeof(h)) < 0
                          : bpf_skb_load_bytes(ctx, p->l4 + 8, h, 1) < 0)
        return 0;
    return is_dtls(h, size, !(state & bit), bit == PENSTOCK_SECURE_CLIENT) ? state | bit : 0;
}

/* The state (enum penstock_secure) of the flow after this packet, 0 if the packet must not pass. `client`: it comes
 * from who began the flow. Global, so that the verifier walks it once. */
__weak __noinline int secure_next(struct __sk_buff* ctx, const struct packet* p, __u32 state, __u32 client) {
    __u32 bit = client ? PENSTOCK_SECURE_CLIENT : PENSTOCK_SECURE_SERVER;

    if (!p)
        return 0;
    if (p->proto == IPPROTO_TCP)
        return secure_tcp(ctx, p, state, bit);
    return p->proto == IPPROTO_UDP ? secure_udp(ctx, p, state, bit) : state;
}

#endif
