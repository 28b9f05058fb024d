/* A frame on a carrier, below a VLAN, a PPPoE session, a bond or a bridge: its headers lead up to the interface whose
 * frame it is. The map `carriers` holds every step there is; where one is missing, nothing passes. */
#ifndef PENSTOCK_LIB_CARRIER_H
#define PENSTOCK_LIB_CARRIER_H

#include "maps.h"
#include "packet.h"

/* Codes of PPPoE discovery by a client (RFC 2516, 5); linux/if_pppox.h drags in half of libc. */
#define PADI_CODE 0x09
#define PADR_CODE 0x19
#define PADT_CODE 0xa7

#define CARRIER_STEPS 4 /* bond port, bond, VLAN, PPPoE */

struct carried {
    __u32 ifindex; /* whose frame it is, as far as the headers were looked at */
    __u32 l2;      /* offset of what stands next */
    __be16 type;   /* ethertype of that */
    __u16 tagged;  /* 1: a VLAN tag stands before that, beside the frame, where the kernel keeps the outermost */
};

INLINE int is_vlan(__be16 type) { return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD); }

/* One interface up; 0: none stands above. A header that belongs to nobody here may be a port's: the bond has the VLAN.
 */
INLINE int climb(struct __sk_buff* ctx, struct carried* c) {
    struct penstock_carrier key = {.ifindex = c->ifindex};
    __be16 head[4] = {}, next = c->type;
    __u32 size = 0;
    const __u32* upper;

    if (c->tagged) {
        key.ethertype = bpf_ntohs(ctx->vlan_proto);
        key.id = ctx->vlan_tci & 0xfff;
    } else if (is_vlan(c->type)) {
        size = 4;
        if (bpf_skb_load_bytes(ctx, c->l2, head, 4) < 0)
            return 0;
        key.ethertype = bpf_ntohs(c->type);
        key.id = bpf_ntohs(head[0]) & 0xfff;
        next = head[1];
    } else if (c->type == bpf_htons(ETH_P_PPP_SES)) {
        size = 8;
        if (bpf_skb_load_bytes(ctx, c->l2, head, 8) < 0 || head[0] != bpf_htons(0x1100))
            return 0;
        key.ethertype = ETH_P_PPP_SES;
        key.id = bpf_ntohs(head[1]);
        next = head[3] == bpf_htons(PPP_IP)     ? bpf_htons(ETH_P_IP)
               : head[3] == bpf_htons(PPP_IPV6) ? bpf_htons(ETH_P_IPV6)
                                                : 0;
    }
    upper = bpf_map_lookup_elem(&carriers, &key);
    if (upper) {
        c->tagged = 0;
        c->type = next;
        c->l2 += size;
    } else if (key.ethertype != 0) {
        key.ethertype = key.id = 0;
        upper = bpf_map_lookup_elem(&carriers, &key);
    }
    if (!upper)
        return 0;
    c->ifindex = *upper;
    return 1;
}

/* What makes a PPPoE session and keeps it (RFC 2516, 5; RFC 1661, 1332, 5072, 1334, 1994, 3748): discovery by a client,
 * and PPP's control protocols, of any session, because the kernel knows it only once they are through. */
INLINE int is_pppoe_control(struct __sk_buff* ctx, const struct carried* c) {
    __u8 head[8];

    if (c->tagged || ctx->ingress_ifindex != 0 || (ctx->mark & mark_mask) == mark_device)
        return 0;
    if (c->type == bpf_htons(ETH_P_PPP_DISC))
        return bpf_skb_load_bytes(ctx, c->l2, head, 6) == 0 && head[0] == 0x11 &&
               (head[1] == PADI_CODE || head[1] == PADR_CODE || head[1] == PADT_CODE);
    if (c->type != bpf_htons(ETH_P_PPP_SES) || bpf_skb_load_bytes(ctx, c->l2, head, 8) < 0 || head[0] != 0x11 ||
        head[1] != 0)
        return 0;
    switch (head[6] << 8 | head[7]) {
    case 0xc021: /* LCP */
    case 0xc023: /* PAP */
    case 0xc223: /* CHAP */
    case 0xc227: /* EAP */
    case 0x8021: /* IPCP */
    case 0x8057: /* IPV6CP */
        return 1;
    }
    return 0;
}

/* A port of a bond tells the switch of itself (IEEE 802.1AX, 6.4.2.3): made by the kernel, for no socket. */
INLINE int is_lacp(struct __sk_buff* ctx, const struct carried* c) {
    __u8 subtype;

    return !c->tagged && c->type == bpf_htons(ETH_P_SLOW) && ctx->ingress_ifindex == 0 && !ctx->sk &&
           bpf_skb_load_bytes(ctx, c->l2, &subtype, 1) == 0 && subtype == 1;
}

#endif
