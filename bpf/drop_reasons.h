/* Why a frame was dropped: one reason a drop, append only. A number, once given, is never reused. */
#ifndef PENSTOCK_DROP_REASONS_H
#define PENSTOCK_DROP_REASONS_H

/* X(number, name, what a person reads) */
#define PENSTOCK_DROP_REASONS(X)                                                                                       \
    X(0, NONE, "not dropped")                                                                                          \
    X(1, MALFORMED, "truncated or contradictory headers")                                                              \
    X(2, ETHERTYPE, "neither IP nor ARP")                                                                              \
    X(3, VLAN, "VLAN tag where none is expected")                                                                      \
    X(4, NO_POLICY, "no policy is in force")                                                                           \
    X(5, UNKNOWN_DEVICE, "no device of the policy has this MAC address")                                               \
    X(6, MAC_MISMATCH, "the source address belongs to a device with another MAC address")                              \
    X(7, ADDRESS_MISMATCH, "the device does not own this source address")                                              \
    X(8, MULTICAST, "multicast and broadcast do not leave the LAN")                                                    \
    X(9, FRAGMENT, "IP fragment without its first one, or that overlaps it")                                           \
    X(10, IP_OPTIONS, "IPv4 options, or IPv6 headers that are not looked behind")                                      \
    X(11, NOT_ALLOWED, "no rule of the policy allows this")                                                            \
    X(12, NO_TUNNEL, "no tunnel covers the destination")                                                               \
    X(13, TUNNEL_DOWN, "the tunnel that covers the destination is down")                                               \
    X(14, ARP_FORGED, "ARP or neighbour discovery for an address that is not the sender's")                            \
    X(15, NOT_DECRYPTED, "for a device, but it did not come out of a tunnel")                                          \
    X(16, NO_FLOW, "for a device, but it answers nothing the device asked")                                            \
    X(17, NO_DEVICE, "for an address on the LAN that no device of the policy has")                                     \
    X(18, DEVICE_CLEAR, "a device's packet in clear at an uplink")                                                     \
    X(19, ESP_UNKNOWN_SA, "ESP that belongs to no SA of this gateway")                                                 \
    X(20, HOST_CLEAR, "the gateway's own packet, and no essential one")                                                \
    X(21, OTHER_LINK, "an interface that is neither uplink, LAN nor tunnel")                                           \
    X(22, SOURCE_ADDRESS, "the source address is not one of this uplink")                                              \
    X(23, UPLINK_CLEAR, "came in clear from an uplink, with an address of a device or of a tunnel's network")          \
    X(24, UPLINK_NEIGHBOUR, "ARP or neighbour discovery on an uplink for a device or a tunnel's network")              \
    X(25, DENIED, "a rule of the policy denies this")                                                                  \
    X(26, NOT_TLS, "the policy requires TLS or DTLS, and this is neither")                                             \
    X(27, RATE, "the device sends more than its rate")                                                                 \
    X(28, WRONG_LAN, "the device is bound to another LAN interface")                                                   \
    X(29, LATCHED, "the witness saw a frame in clear; nothing is forwarded until an operator clears it")               \
    X(30, NOT_LEARNT, "an address that the device has not yet; the gateway learns it, or says why not")                \
    X(31, CARRIER, "on a carrier, but of no uplink above it: another VLAN, another PPPoE session, or neither")

enum penstock_drop_reason {
#define PENSTOCK_X(number, name, text) PENSTOCK_DROP_##name = number,
    PENSTOCK_DROP_REASONS(PENSTOCK_X)
#undef PENSTOCK_X
        PENSTOCK_DROP_REASON_MAX
};

#endif
