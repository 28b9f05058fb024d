// Frames put together layer by layer: `Ethernet{} / IPv4{} / Udp{} / Payload{}` are bytes with the right lengths, next
// headers and checksums, unless a layer says otherwise. Knows nothing of the code under test.
#pragma once

#include <arpa/inet.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace penstock::test {

using Bytes = std::vector<std::uint8_t>;
using Mac = std::string; // "02:00:00:00:00:12"

struct Ethernet {
    Mac source = "02:00:00:00:00:12", destination = "02:00:00:00:00:01";
    std::optional<std::uint16_t> type = {};
};
struct Vlan {
    std::uint16_t id = 7;
    std::uint16_t tpid = 0x8100;
};
struct Arp {
    std::uint16_t operation = 1;
    Mac sender_mac = "02:00:00:00:00:12";
    std::string sender = "10.20.0.12", target = "10.20.0.1";
    std::uint16_t hardware = 1;
};
struct IPv4 {
    std::string source = "10.20.0.12", destination = "203.0.113.10";
    std::optional<std::uint8_t> protocol = {};
    std::uint8_t ttl = 64;
    std::uint16_t fragment_offset = 0; // in units of 8 bytes
    bool more_fragments = false;
    Bytes options = {}; // whole words
    std::optional<std::uint16_t> total_length = {};
    std::uint16_t id = 0x1234;
};
struct IPv6 {
    std::string source = "fd20::12", destination = "2001:db8:203::10";
    std::optional<std::uint8_t> next_header = {};
    std::uint8_t hop_limit = 64;
    std::optional<std::uint16_t> payload_length = {};
};
// Any extension header of 8 bytes: its own type and 6 bytes of content. 44 is a fragment header.
struct Extension {
    std::uint8_t type = 0;
    Bytes content = {5, 2, 0, 0, 1, 0}; // router alert
    std::optional<std::uint8_t> next_header = {};
};
struct Udp {
    std::uint16_t source = 40000, destination = 5000;
};
struct Tcp {
    std::uint16_t source = 40000, destination = 443;
    std::uint8_t flags = 0x02;
    Bytes options = {}; // whole words
};
struct Icmp {
    std::uint8_t type = 8, code = 0;
    Bytes rest = {0, 0, 0, 0};
};
struct Icmpv6 {
    std::uint8_t type = 128, code = 0;
    Bytes rest = {0, 0, 0, 0};
};
struct Esp {
    std::uint32_t spi = 0xc0ffee01;
    std::uint32_t sequence = 1;
};
struct Payload {
    Bytes bytes = Bytes(32, 0xa5);
};

using Layer = std::variant<Ethernet, Vlan, Arp, IPv4, IPv6, Extension, Udp, Tcp, Icmp, Icmpv6, Esp, Payload>;

inline void put16(Bytes& out, std::uint16_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value));
}
inline void put32(Bytes& out, std::uint32_t value) {
    put16(out, static_cast<std::uint16_t>(value >> 16));
    put16(out, static_cast<std::uint16_t>(value));
}
inline void put(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }
inline Bytes mac_bytes(const Mac& mac) {
    Bytes out;
    for (std::size_t i = 0; i < 6; i++)
        out.push_back(static_cast<std::uint8_t>(std::stoul(mac.substr(i * 3, 2), nullptr, 16)));
    return out;
}
inline Bytes ip_bytes(const std::string& text) {
    const bool v6 = text.find(':') != std::string::npos;
    Bytes out(v6 ? 16 : 4);
    if (inet_pton(v6 ? AF_INET6 : AF_INET, text.c_str(), out.data()) != 1)
        throw std::invalid_argument(text);
    return out;
}
// RFC 1071 over `bytes`.
inline std::uint16_t checksum(const Bytes& bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i++)
        sum += static_cast<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}
inline void set16(Bytes& out, std::size_t at, std::uint16_t value) {
    out[at] = static_cast<std::uint8_t>(value >> 8);
    out[at + 1] = static_cast<std::uint8_t>(value);
}

class Packet {
public:
    explicit(false) Packet(Layer layer) : layers_{std::move(layer)} {}
    Packet& operator/=(Layer layer) {
        layers_.push_back(std::move(layer));
        return *this;
    }
    [[nodiscard]] Bytes bytes() const {
        Bytes out;
        for (std::size_t i = layers_.size(); i-- > 0;)
            out = std::visit([&](const auto& layer) { return wrap(layer, i, std::move(out)); }, layers_[i]);
        return out;
    }
    explicit(false) operator Bytes() const { return bytes(); }

private:
    // IP protocol number of what follows layer i; 59: nothing does.
    [[nodiscard]] std::uint8_t protocol_after(std::size_t i) const {
        static constexpr std::uint8_t kNumbers[] = {59, 59, 59, 4, 41, 0, 17, 6, 1, 58, 50, 253};
        if (i + 1 >= layers_.size())
            return 59;
        if (const auto* extension = std::get_if<Extension>(&layers_[i + 1]))
            return extension->type;
        return kNumbers[layers_[i + 1].index()];
    }
    [[nodiscard]] std::uint16_t ethertype_after(std::size_t i) const {
        if (i + 1 >= layers_.size())
            return 0x88b5; // local experiments
        const auto& next = layers_[i + 1];
        if (const auto* vlan = std::get_if<Vlan>(&next))
            return vlan->tpid;
        if (std::holds_alternative<IPv4>(next))
            return 0x0800;
        if (std::holds_alternative<IPv6>(next))
            return 0x86dd;
        return std::holds_alternative<Arp>(next) ? 0x0806 : 0x88b5;
    }
    // Checksum of `segment` with the pseudo header of the IP layer below layer i.
    [[nodiscard]] std::uint16_t with_pseudo_header(std::size_t i, std::uint8_t protocol, const Bytes& segment) const {
        Bytes all;
        while (i-- > 0) {
            if (const auto* v4 = std::get_if<IPv4>(&layers_[i])) {
                put(all, ip_bytes(v4->source));
                put(all, ip_bytes(v4->destination));
                break;
            }
            if (const auto* v6 = std::get_if<IPv6>(&layers_[i])) {
                put(all, ip_bytes(v6->source));
                put(all, ip_bytes(v6->destination));
                break;
            }
        }
        put16(all, protocol);
        put16(all, static_cast<std::uint16_t>(segment.size()));
        put(all, segment);
        return checksum(all);
    }

    [[nodiscard]] Bytes wrap(const Ethernet& l, std::size_t i, Bytes inner) const {
        Bytes out = mac_bytes(l.destination);
        put(out, mac_bytes(l.source));
        put16(out, l.type.value_or(ethertype_after(i)));
        put(out, inner);
        return out;
    }
    [[nodiscard]] Bytes wrap(const Vlan& l, std::size_t i, Bytes inner) const {
        Bytes out;
        put16(out, l.id);
        put16(out, ethertype_after(i));
        put(out, inner);
        return out;
    }
    [[nodiscard]] static Bytes wrap(const Arp& l, std::size_t, const Bytes& inner) {
        Bytes out;
        put16(out, l.hardware);
        put16(out, 0x0800);
        put(out, {6, 4});
        put16(out, l.operation);
        put(out, mac_bytes(l.sender_mac));
        put(out, ip_bytes(l.sender));
        put(out, Bytes(6, 0));
        put(out, ip_bytes(l.target));
        put(out, inner);
        return out;
    }
    [[nodiscard]] Bytes wrap(const IPv4& l, std::size_t i, Bytes inner) const {
        Bytes out;
        const std::size_t header = 20 + l.options.size();
        out.push_back(static_cast<std::uint8_t>(0x40 | header / 4));
        out.push_back(0);
        put16(out, l.total_length.value_or(static_cast<std::uint16_t>(header + inner.size())));
        put16(out, l.id);
        put16(out, static_cast<std::uint16_t>((l.more_fragments ? 0x2000 : 0) | l.fragment_offset));
        put(out, {l.ttl, l.protocol.value_or(protocol_after(i)), 0, 0});
        put(out, ip_bytes(l.source));
        put(out, ip_bytes(l.destination));
        put(out, l.options);
        set16(out, 10, checksum(out));
        put(out, inner);
        return out;
    }
    [[nodiscard]] Bytes wrap(const IPv6& l, std::size_t i, Bytes inner) const {
        Bytes out{0x60, 0, 0, 0};
        put16(out, l.payload_length.value_or(static_cast<std::uint16_t>(inner.size())));
        put(out, {l.next_header.value_or(protocol_after(i)), l.hop_limit});
        put(out, ip_bytes(l.source));
        put(out, ip_bytes(l.destination));
        put(out, inner);
        return out;
    }
    [[nodiscard]] Bytes wrap(const Extension& l, std::size_t i, Bytes inner) const {
        Bytes out{l.next_header.value_or(protocol_after(i)), 0};
        put(out, l.content);
        put(out, inner);
        return out;
    }
    [[nodiscard]] Bytes wrap(const Udp& l, std::size_t i, Bytes inner) const {
        Bytes out;
        put16(out, l.source);
        put16(out, l.destination);
        put16(out, static_cast<std::uint16_t>(8 + inner.size()));
        put16(out, 0);
        put(out, inner);
        set16(out, 6, with_pseudo_header(i, 17, out));
        return out;
    }
    [[nodiscard]] Bytes wrap(const Tcp& l, std::size_t i, Bytes inner) const {
        Bytes out;
        put16(out, l.source);
        put16(out, l.destination);
        put32(out, 1000);
        put32(out, 0);
        put(out, {static_cast<std::uint8_t>((5 + l.options.size() / 4) << 4), l.flags});
        put16(out, 65535);
        put32(out, 0);
        put(out, l.options);
        put(out, inner);
        set16(out, 16, with_pseudo_header(i, 6, out));
        return out;
    }
    [[nodiscard]] static Bytes wrap(const Icmp& l, std::size_t, const Bytes& inner) {
        Bytes out{l.type, l.code, 0, 0};
        put(out, l.rest);
        put(out, inner);
        set16(out, 2, checksum(out));
        return out;
    }
    [[nodiscard]] Bytes wrap(const Icmpv6& l, std::size_t i, Bytes inner) const {
        Bytes out{l.type, l.code, 0, 0};
        put(out, l.rest);
        put(out, inner);
        set16(out, 2, with_pseudo_header(i, 58, out));
        return out;
    }
    [[nodiscard]] static Bytes wrap(const Esp& l, std::size_t, const Bytes& inner) {
        Bytes out;
        put32(out, l.spi);
        put32(out, l.sequence);
        put(out, inner);
        return out;
    }
    [[nodiscard]] static Bytes wrap(const Payload& l, std::size_t, const Bytes& inner) {
        Bytes out = l.bytes;
        put(out, inner);
        return out;
    }

    std::vector<Layer> layers_;
};

inline Packet operator/(Packet lower, Layer upper) {
    lower /= std::move(upper);
    return lower;
}
// So that two layers next to each other find the operator above.
template <class Lower, class Upper>
    requires std::is_constructible_v<Layer, Lower> && std::is_constructible_v<Layer, Upper> &&
             (!std::is_same_v<Lower, Packet>)
Packet operator/(Lower lower, Upper upper) {
    return Packet(Layer(std::move(lower))) / Layer(std::move(upper));
}

// Neighbour solicitation and advertisement (RFC 4861, 4.3 and 4.4): what follows the IPv6 header.
inline Icmpv6 neighbour_solicit(const std::string& target) {
    Bytes rest(4, 0);
    put(rest, ip_bytes(target));
    return {.type = 135, .rest = rest};
}
inline Icmpv6 neighbour_advert(const std::string& target) {
    Bytes rest{0x60, 0, 0, 0};
    put(rest, ip_bytes(target));
    return {.type = 136, .rest = rest};
}

} // namespace penstock::test
