// Between the kernel's XFRM structures and the values of xfrm.hpp. Inside agent/net only.
#pragma once

#include "agent/net/message.hpp"
#include "agent/net/socket.hpp"
#include "agent/net/xfrm.hpp"

#include <linux/netlink.h>
#include <linux/xfrm.h>

namespace penstock::net {

// Newer than the headers of Debian 12 (kernel 6.10).
inline constexpr int kXfrmaSaDir = 33;
inline constexpr std::uint8_t kSaDirIn = 1, kSaDirOut = 2;

// xfrm_algo_aead and xfrm_replay_state_esn without the array behind them, so that they can be values.
struct AeadHead {
    char name[64];
    std::uint32_t key_bits, icv_bits;
};
static_assert(sizeof(AeadHead) == sizeof(xfrm_algo_aead));
struct ReplayHead {
    std::uint32_t bitmap_words, oseq, seq, oseq_hi, seq_hi, window;
};
static_assert(sizeof(ReplayHead) == sizeof(xfrm_replay_state_esn));

xfrm_address_t to_xfrm(const IpAddress& address);
IpAddress from_xfrm(const xfrm_address_t& address, int family);

// "what: ..." if the families differ or a port range is not one aligned power of two.
Result<xfrm_selector> encode_selector(const Selector& selector, std::string_view what);
Selector decode_selector(const xfrm_selector& selector);

xfrm_usersa_id encode_id(const SaId& id);
std::string describe(const SaId& id); // "SA c1000011 to 192.0.2.2"

// No limits at all, as the kernel writes it.
xfrm_lifetime_cfg unlimited();

} // namespace penstock::net
