/*
 * Layer 4: every frame that leaves on an interface which is neither LAN, loopback nor a tunnel of the agent. Default
 * deny. On a carrier below an uplink a frame is judged as what it is on that uplink, once more, behind the headers that
 * were put before it on the way down: nothing that could be forged says that the uplink's own program passed it.
 *
 * Judged by headers, marks and the SA map, never by payload: with offload the payload behind an ESP header is still
 * readable here. Passes ESP of an SA this agent installed, IKE of penstock-ike, and what the uplink itself needs to
 * live.
 */
#include "lib/carrier.h"
#include "lib/essentials.h"
#include "lib/guarded.h"
#include "lib/verdict.h"

#define DROP_FOR(reason) drop(ctx, p, (reason) | PENSTOCK_HOOK_UPLINK_EGRESS << 8, NO_SLOT)
#define DROP(reason) DROP_FOR(PENSTOCK_DROP_##reason)

#define PORT_IKE 500
#define PORT_NATT 4500

INLINE int sa_exists(const struct penstock_addr* destination, __be32 spi) {
    struct penstock_sa_key key = {.destination = *destination, .spi_be = spi};

    return bpf_map_lookup_elem(&sas, &key) != NULL;
}

INLINE int is_peer(const struct penstock_addr* destination) { return sa_exists(destination, 0); }

INLINE int zero_address(const struct packet* p) {
    const __u32* word = (const void*)&p->source;

    return word[3] == 0 && word[1] == 0 && word[0] == 0 && (word[2] == 0 || word[2] == bpf_htonl(0xffff));
}

/* The kernel's own ARP for an address of this uplink (or none yet, RFC 5227). */
INLINE int judge_arp(struct __sk_buff* ctx, struct packet* p, __u32 l2, __u32 uplink) {
    if (!parse_arp(ctx, l2, p))
        return DROP(MALFORMED);
    if (ctx->ingress_ifindex != 0 || (!zero_address(p) && !is_host_address(uplink, &p->source)))
        return DROP(SOURCE_ADDRESS);
    if (is_guarded(&p->destination))
        return DROP(DEVICE_CLEAR);
    return PASS;
}

/* RS, NS, NA and MLDv2 reports of the uplink (RFC 4861, RFC 3810); the only packets with a hop-by-hop header that pass.
 */
INLINE int is_own_discovery(struct __sk_buff* ctx, const struct packet* p, __u32 uplink) {
    if (ctx->ingress_ifindex != 0 || p->ethertype != ETH_P_IPV6)
        return 0;
    if (!zero_address(p) && !is_host_address(uplink, &p->source))
        return 0;
    if (p->proto == IPPROTO_ICMPV6 && (p->icmp_type == ND_NEIGHBOR_SOLICIT || p->icmp_type == ND_NEIGHBOR_ADVERT)) {
        struct penstock_addr target;

        return p->hop_limit == 255 && bpf_skb_load_bytes(ctx, p->l4 + 8, &target, sizeof(target)) == 0 &&
               !is_guarded(&target);
    }
    if (p->proto == IPPROTO_ICMPV6)
        return p->hop_limit == 255 && p->icmp_type == ND_ROUTER_SOLICIT;
    return p->proto == IPPROTO_HOPOPTS && p->hop_limit == 1 && p->destination.bytes[0] == 0xff &&
           p->destination.bytes[1] == 2 && p->destination.bytes[15] == 0x16;
}

/* DHCP of the uplink (RFC 2131, RFC 8415): from the client's port to the server's. */
INLINE int is_own_dhcp(struct __sk_buff* ctx, const struct packet* p, __u32 uplink) {
    if (ctx->ingress_ifindex != 0 || p->proto != IPPROTO_UDP || p->fragment || p->options)
        return 0;
    if (!zero_address(p) && !is_host_address(uplink, &p->source))
        return 0;
    if (gate_flags() & PENSTOCK_DHCP_OWNED && !essential_allows(ctx, p))
        return 0;
    if (p->ethertype == ETH_P_IP)
        return p->source_port_be == bpf_htons(68) && p->destination_port_be == bpf_htons(67);
    return p->source_port_be == bpf_htons(546) && p->destination_port_be == bpf_htons(547) &&
           p->destination.bytes[0] == 0xff && p->destination.bytes[1] == 2;
}

/* To a DHCP server from another port than a client's: what a relay says for a device. */
INLINE int is_relayed_dhcp(const struct packet* p) {
    return p->proto == IPPROTO_UDP &&
           ((p->destination_port_be == bpf_htons(67) && p->source_port_be != bpf_htons(68)) ||
            (p->destination_port_be == bpf_htons(547) && p->source_port_be != bpf_htons(546)));
}

/* A service of the table, or with `host_egress = "open"` any local socket's TCP, UDP and pings, from an address of this
 * uplink. A SYN-ACK has a request socket, which stands for its listener. Errors of the kernel, which may quote a
 * device, stay out. */
INLINE int is_host_service(struct __sk_buff* ctx, const struct packet* p, __u32 uplink) {
    if (ctx->ingress_ifindex != 0 || p->fragment || p->options)
        return 0;
    if (!is_host_address(uplink, &p->source) || is_guarded(&p->destination) || is_relayed_dhcp(p))
        return 0;
    if (essential_allows(ctx, p))
        return 1;
    if (!(gate_flags() & PENSTOCK_HOST_EGRESS_OPEN) || bpf_skb_cgroup_id(ctx) == 0)
        return 0;
    return p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP ||
           (p->proto == IPPROTO_ICMP && p->icmp_type == ICMP_ECHO) ||
           (p->proto == IPPROTO_ICMPV6 && p->icmp_type == ICMPV6_ECHO_REQUEST);
}

/* UDP between the IKE socket and a peer. With ESP in user space the socket sends ESP too, which must be of a known SA.
 */
INLINE int judge_ike(struct __sk_buff* ctx, const struct packet* p, __u32 uplink) {
    __u16 from = bpf_ntohs(p->source_port_be);
    __be32 word;

    if (ctx->ingress_ifindex != 0 || (from != PORT_IKE && from != PORT_NATT))
        return DROP(HOST_CLEAR);
    if (!is_host_address(uplink, &p->source))
        return DROP(SOURCE_ADDRESS);
    if (!is_peer(&p->destination))
        return DROP(HOST_CLEAR);
    if (from == PORT_IKE)
        return PASS;
    if (bpf_skb_load_bytes(ctx, p->l4 + 8, &word, sizeof(word)) < 0)
        return PASS; /* NAT keepalive: one byte (RFC 3948, 2.3) */
    if (word == 0)
        return PASS; /* the non-ESP marker */
    if (!(gate_flags() & PENSTOCK_ESP_USER) || !sa_exists(&p->destination, word))
        return DROP(ESP_UNKNOWN_SA);
    return is_latched() ? DROP(LATCHED) : PASS;
}

INLINE int judge_esp(struct __sk_buff* ctx, const struct packet* p) {
    __be32 spi;

    if (bpf_skb_load_bytes(ctx, p->proto == IPPROTO_UDP ? p->l4 + 8 : p->l4, &spi, sizeof(spi)) < 0)
        return DROP(MALFORMED);
    if (spi == 0 || !sa_exists(&p->destination, spi))
        return DROP(ESP_UNKNOWN_SA);
    return is_latched() ? DROP(LATCHED) : PASS;
}

/* uplink: whose frame it is; another than ctx->ifindex on a carrier below it. */
INLINE int judge(struct __sk_buff* ctx, const struct packet* p, __u32 uplink) {
    __u32 mark = ctx->mark & mark_mask;
    __u32 encrypted = gate_flags() & PENSTOCK_ESP_USER ? mark_ike : mark_esp;

    if (mark == mark_device)
        return DROP(DEVICE_CLEAR);
    /* Before the marks: the kernel's own MLD carries whatever mark its memory held. */
    if (is_own_discovery(ctx, p, uplink))
        return PASS;
    if (p->later || (p->fragment && p->ethertype == ETH_P_IPV6))
        return mark != encrypted || !is_peer(&p->destination) ? DROP(FRAGMENT) : is_latched() ? DROP(LATCHED) : PASS;
    if (p->options)
        return DROP(IP_OPTIONS);
    if (mark == mark_ike && p->proto == IPPROTO_UDP)
        return judge_ike(ctx, p, uplink);
    if (mark == mark_esp &&
        (p->proto == IPPROTO_ESP || (p->proto == IPPROTO_UDP && p->source_port_be == bpf_htons(PORT_NATT))))
        return judge_esp(ctx, p);
    if (p->proto == IPPROTO_ESP)
        return DROP(ESP_UNKNOWN_SA);
    if (is_own_dhcp(ctx, p, uplink) || is_host_service(ctx, p, uplink))
        return PASS;
    return ctx->ingress_ifindex ? DROP(DEVICE_CLEAR) : DROP(HOST_CLEAR);
}

INLINE int is_near_ethernet_uplink(__u32 ifindex) {
    __u32 place = ifindex % PENSTOCK_NEAR;
    const struct penstock_near_link* near = bpf_map_lookup_elem(&near_links, &place);

    return near && near->ifindex == ifindex && near->link.role == PENSTOCK_LINK_UPLINK && near->link.l2_len == ETH_HLEN;
}

INLINE int is_near_sa(const struct penstock_addr* destination, __be32 spi) {
    __u32 place = bpf_ntohl(spi) % PENSTOCK_NEAR;
    const struct penstock_sa_key* near = bpf_map_lookup_elem(&near_sas, &place);

    return near && near->spi_be == spi && same_addr(&near->destination, destination);
}

/* Most of what leaves: ESP of the kernel in its plainest form, on Ethernet. Passed without reading more than that
 * takes; what is not passed here is judged in full. */
INLINE int is_plain_esp(struct __sk_buff* ctx) {
    void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
    struct ethhdr* eth = data;
    struct penstock_addr destination;
    __be32 spi;
    __u8 proto;

    if ((ctx->mark & mark_mask) != mark_esp || ctx->vlan_present || data + ETH_HLEN + sizeof(struct ipv6hdr) + 12 > end)
        return 0;
    if (eth->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr* ip = data + ETH_HLEN;

        if (*(__u8*)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff) || bpf_ntohs(ip->tot_len) < sizeof(*ip) + 12 ||
            ETH_HLEN + bpf_ntohs(ip->tot_len) > ctx->len)
            return 0;
        map_ipv4(&destination, ip->daddr);
        proto = ip->protocol;
        data += ETH_HLEN + sizeof(*ip);
    } else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr* ip = data + ETH_HLEN;

        if (ip->version != 6 || bpf_ntohs(ip->payload_len) < 12 ||
            ETH_HLEN + sizeof(*ip) + bpf_ntohs(ip->payload_len) > ctx->len)
            return 0;
        __builtin_memcpy(&destination, &ip->daddr, sizeof(destination));
        if (is_mapped(&destination))
            return 0;
        proto = ip->nexthdr;
        data += ETH_HLEN + sizeof(*ip);
    } else {
        return 0;
    }
    if (proto == IPPROTO_ESP)
        spi = *(__be32*)data;
    else if (proto == IPPROTO_UDP && *(__be16*)data == bpf_htons(PORT_NATT))
        spi = *(__be32*)(data + 8);
    else
        return 0;
    return spi != 0 && (is_near_sa(&destination, spi) || sa_exists(&destination, spi)) && !is_latched();
}

/* Global: the verifier walks it once. */
__weak __noinline int judge_for(struct __sk_buff* ctx, const struct packet* p, __u32 uplink) {
    return p ? judge(ctx, p, uplink) : TC_ACT_SHOT;
}

/* What stands behind `l2` bytes, a constant in each call, so that every offset is. */
INLINE int judge_behind(struct __sk_buff* ctx, struct packet* p, __u32 l2, __u32 uplink) {
    __u8 reason;

    if (p->ethertype == ETH_P_ARP && l2 != 0)
        return judge_arp(ctx, p, l2, uplink);
    if (p->ethertype != ETH_P_IP && p->ethertype != ETH_P_IPV6)
        return DROP(ETHERTYPE);
    reason = parse_ip(ctx, l2, p);
    return reason == PENSTOCK_DROP_NONE ? judge_for(ctx, p, uplink) : DROP_FOR(reason);
}

/* A frame on an interface that has an uplink above it. */
__weak __noinline int judge_carried(struct __sk_buff* ctx) {
    struct carried c = {.ifindex = ctx->ifindex, .l2 = ETH_HLEN, .tagged = ctx->vlan_present ? 1 : 0};
    const struct penstock_link* link;
    struct packet whole = {}, *p = &whole;

    if (bpf_skb_load_bytes(ctx, 6, p->mac, sizeof(p->mac)) < 0 || bpf_skb_load_bytes(ctx, 12, &c.type, 2) < 0)
        return DROP(MALFORMED);
    for (int i = 0; i < CARRIER_STEPS; i++) {
        link = bpf_map_lookup_elem(&links, &c.ifindex);
        if (link && ((link->flags & PENSTOCK_LINK_PPPOE && is_pppoe_control(ctx, &c)) ||
                     (link->flags & PENSTOCK_LINK_LACP && is_lacp(ctx, &c))))
            return PASS;
        if (!climb(ctx, &c))
            break;
    }
    p->ethertype = bpf_ntohs(c.type);
    link = bpf_map_lookup_elem(&links, &c.ifindex);
    if (!link || link->role != PENSTOCK_LINK_UPLINK || c.tagged || is_vlan(c.type) ||
        c.type == bpf_htons(ETH_P_PPP_SES) || c.type == bpf_htons(ETH_P_PPP_DISC))
        return DROP(CARRIER);
    make_linear(ctx, c.l2 + sizeof(struct ipv6hdr) + 20);
    switch (c.l2) {
    case ETH_HLEN:
        return judge_behind(ctx, p, ETH_HLEN, c.ifindex);
    case ETH_HLEN + 4:
        return judge_behind(ctx, p, ETH_HLEN + 4, c.ifindex);
    case ETH_HLEN + 8: /* PPPoE, or two tags */
        return judge_behind(ctx, p, ETH_HLEN + 8, c.ifindex);
    case ETH_HLEN + 12:
        return judge_behind(ctx, p, ETH_HLEN + 12, c.ifindex);
    }
    return DROP(CARRIER);
}

SEC("tc")
int uplink_egress(struct __sk_buff* ctx) {
    __u32 ifindex = ctx->ifindex;
    const struct penstock_link* link;
    struct packet whole, *p = &whole;
    __u8 reason, version;

    if (is_near_ethernet_uplink(ifindex) && is_plain_esp(ctx))
        return PASS;
    __builtin_memset(p, 0, sizeof(*p));
    link = bpf_map_lookup_elem(&links, &ifindex);
    if (link && link->flags & PENSTOCK_LINK_CARRIES)
        return judge_carried(ctx);
    if (!link || link->role != PENSTOCK_LINK_UPLINK)
        return DROP(OTHER_LINK);
    make_linear(ctx, ETH_HLEN + sizeof(struct ipv6hdr) + 20);
    if (link->l2_len == 0) {
        if (bpf_skb_load_bytes(ctx, 0, &version, 1) < 0)
            return DROP(MALFORMED);
        p->ethertype = version >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6;
        return judge_behind(ctx, p, 0, ifindex);
    }
    reason = parse_ethernet(ctx, p);
    return reason == PENSTOCK_DROP_NONE ? judge_behind(ctx, p, ETH_HLEN, ifindex) : DROP_FOR(reason);
}
