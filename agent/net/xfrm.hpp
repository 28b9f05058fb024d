// IPsec in the kernel (XFRM): security associations, policies, defaults, and what the kernel reports about them.
// ESP in tunnel mode with an AEAD cipher and nothing else: an SA without encryption cannot be written down here, so
// that whatever else goes wrong nothing leaves as ESP that can be read. All of it acts on the network namespace of the
// calling thread and needs CAP_NET_ADMIN there.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"
#include "agent/net/secret.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace penstock::net {

// --- security associations (RFC 4301, RFC 4303) ---

struct SaId {
    IpAddress destination;
    std::uint32_t spi = 0; // host byte order
    auto operator<=>(const SaId&) const = default;
};

struct UdpEncapsulation { // RFC 3948; ports in host byte order
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    bool operator==(const UdpEncapsulation&) const = default;
};

struct Lifetime { // 0: no limit. Seconds count from the moment of adding
    std::uint64_t soft_seconds = 0, hard_seconds = 0;
    std::uint64_t soft_bytes = 0, hard_bytes = 0;
    std::uint64_t soft_packets = 0, hard_packets = 0;
};

struct SecurityAssociation {
    IpAddress source, destination; // outer addresses
    std::uint32_t spi = 0;         // host byte order
    std::uint32_t reqid = 0;       // ties it to policies
    bool inbound = false;
    std::string aead = "rfc4106(gcm(aes))";
    SecretBytes key;         // includes the salt: 36 bytes for AES-256-GCM (RFC 4106)
    unsigned icv_bits = 128; // 64, 96 or 128
    std::optional<UdpEncapsulation> encapsulation;
    bool esn = true;                 // 64-bit sequence numbers
    std::uint32_t replay_window = 0; // packets, up to 4096; inbound only, outbound ones have none
    // skb->mark after the transformation: mark = (mark & ~mask) | value. Mask 0: the mark stays.
    std::uint32_t output_mark = 0, output_mark_mask = 0;
    Lifetime lifetime;
    bool copy_ecn = true;   // between inner and outer header (RFC 6040)
    bool copy_df = true;    // outbound; false: the outer header never has DF
    bool copy_dscp = false; // inbound: outer DSCP to the inner header
};

// Reserves an inbound SPI in the range (host byte order); the larval SA lives net.core.xfrm_acq_expires seconds.
Result<std::uint32_t> allocate_spi(const IpAddress& source, const IpAddress& destination, std::uint32_t reqid,
                                   std::uint32_t min = 0xc0000000, std::uint32_t max = 0xcfffffff);
// EEXIST if the SPI is taken; EPROTONOSUPPORT if the kernel has no ESP.
Status add_sa(const SecurityAssociation& sa);
// Completes the larval SA that allocate_spi() made. ESRCH if it has expired.
Status complete_sa(const SecurityAssociation& sa);
// Gives an SA other outer addresses or ports (MOBIKE, RFC 4555). The kernel cannot rename one: it is read, deleted and
// added again with its key, replay window, counters and lifetime; packets in between are dropped. The sequence number
// of an outbound SA jumps ahead, so that none is used twice. If adding fails, the SA is gone: fails closed.
Status move_sa(const SaId& id, const IpAddress& source, const IpAddress& destination,
               std::optional<UdpEncapsulation> encapsulation);
// ESRCH if it is not there.
Status delete_sa(const SaId& id);

// What the kernel holds; has no room for a key.
struct SaStatus {
    IpAddress source, destination;
    std::uint32_t spi = 0; // host byte order
    std::uint32_t reqid = 0;
    std::uint8_t protocol = 0; // IPPROTO_ESP unless somebody else's
    bool tunnel_mode = false;
    std::optional<bool> inbound; // empty before kernel 6.10
    std::string aead;            // empty: larval, or not AEAD
    unsigned key_bits = 0, icv_bits = 0;
    std::optional<UdpEncapsulation> encapsulation;
    bool esn = false;
    std::uint32_t replay_window = 0;
    std::uint32_t output_mark = 0, output_mark_mask = 0;
    std::uint64_t bytes = 0, packets = 0;
    // Seconds since 1970 by the wall clock; 0: never. last_use is kept by kernels from 6.2, before it is the first use.
    std::uint64_t added = 0, last_use = 0;
    std::uint64_t sequence_out = 0, sequence_in = 0; // highest sent and received; 64 bits with ESN
    std::uint32_t replayed = 0, outside_window = 0, integrity_failures = 0;
};

Result<SaStatus> query_sa(const SaId& id);
Result<std::vector<SaStatus>> list_sas();

// Whether the kernel can do ESP with AES-GCM for outer addresses of this family: found out by adding an SA between
// loopback addresses and deleting it. An error means that it could not be found out (EPERM ...).
// May load kernel modules, which takes seconds on a slow machine: not for the guard loop.
Result<bool> kernel_has_esp(int family);
// IPv4; what decides between kernel and user-space ESP.
Result<bool> kernel_has_esp();

// --- policies ---

enum class Direction : std::uint8_t { in = 0, out = 1, forward = 2 };

struct PortRange { // host byte order. One XFRM selector can only hold an aligned power of two of ports
    std::uint16_t first = 0, last = 65535;
    bool operator==(const PortRange&) const = default;
};

struct Selector {
    IpPrefix source, destination; // of one family
    std::uint8_t protocol = 0;    // 0: any
    PortRange source_ports, destination_ports;
    int ifindex = 0; // 0: any
    bool operator==(const Selector&) const = default;
};

struct PolicyTemplate { // the SA that traffic must use: ESP, tunnel mode
    IpAddress source, destination;
    std::uint32_t reqid = 0;
    std::uint32_t spi = 0; // host byte order; 0: any with that reqid
    bool operator==(const PolicyTemplate&) const = default;
};

struct SecurityPolicy {
    enum class Action : std::uint8_t { allow, block };

    Selector selector;
    Direction direction = Direction::out;
    std::uint32_t priority = 0; // the lowest number wins
    Action action = Action::allow;
    std::optional<PolicyTemplate> transform; // allow without one: in clear
    std::uint32_t mark = 0, mark_mask = 0;
    bool foreign = false;  // listed only: has parts this struct does not hold (several templates, another mode ...)
    bool in_clear = false; // of a foreign one: lets through what no ESP protected (no template, or optional ones)

    bool operator==(const SecurityPolicy&) const = default;
    [[nodiscard]] std::string str() const;
};

// Selector, direction and mark name a policy in the kernel; the PRIORITY DOES NOT. Two policies with the same selector
// cannot exist side by side: replacing a block policy by a tunnel's of exactly the same selector ends the block.
Status add_policy(const SecurityPolicy& policy); // EEXIST
Status replace_policy(const SecurityPolicy& policy);
Status delete_policy(const SecurityPolicy& policy);  // ENOENT
Result<std::vector<SecurityPolicy>> list_policies(); // without the per-socket ones

struct PolicyUse { // seconds since 1970 by the wall clock; 0: never
    std::uint64_t added = 0, last_use = 0;
};
Result<PolicyUse> query_policy(const SecurityPolicy& policy); // ENOENT

// What happens to traffic that no policy selects (kernel 5.15).
struct DefaultPolicy {
    using Action = SecurityPolicy::Action;
    Action in = Action::allow, forward = Action::allow, out = Action::allow;
    bool operator==(const DefaultPolicy&) const = default;
};
Status set_default_policy(const DefaultPolicy& policy);
Result<DefaultPolicy> get_default_policy();

// --- what the kernel reports ---

struct Acquire { // traffic met a policy that has no SA yet
    std::uint32_t reqid = 0;
    IpAddress source, destination; // outer, of the template
    Selector selector;             // of the packet
};
struct Expire {
    SaId id;
    IpAddress source;
    std::uint32_t reqid = 0;
    std::uint8_t protocol = 0;
    bool hard = false; // true: the kernel has deleted it
};
struct Mapping { // the peer's NAT gave it another address or port
    SaId id;
    std::uint32_t reqid = 0;
    IpAddress old_source, new_source;
    std::uint16_t old_port = 0, new_port = 0; // host byte order
};
struct PoliciesChanged {}; // somebody, perhaps we, changed policies or the default
struct SasGone {};         // somebody, perhaps we, deleted SAs
using XfrmEvent = std::variant<Acquire, Expire, Mapping, PoliciesChanged, SasGone>;

// SAs being added is not watched: those notifications carry keys, and the kernel keeps them away from this socket.
class XfrmMonitor {
public:
    static Result<XfrmMonitor> make();
    [[nodiscard]] int fd() const { return fd_.get(); } // readable when drain() has something; never blocks
    struct Batch {
        std::vector<XfrmEvent> events; // PoliciesChanged and SasGone at most once
        bool overrun = false;          // some were lost: list and compare
    };
    Result<Batch> drain();

private:
    explicit XfrmMonitor(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

// --- the IKE socket ---

// Lets a socket that penstock-ike passed speak in clear past all policies, and gives its packets the mark. The fd comes
// from a process that may be hijacked: anything but a UDP socket of that family is refused.
Status apply_ike_socket_options(int fd, int family, std::uint32_t mark);

} // namespace penstock::net
