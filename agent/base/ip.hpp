// IP and MAC addresses as values: parse, print, compare, contain.
#pragma once

#include "agent/base/result.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

// An IPv4 or IPv6 address, network byte order. IPv4 uses bytes[0..3]; the rest is zero.
struct IpAddress {
    int family = 0; // AF_INET or AF_INET6; 0: none
    std::array<std::uint8_t, 16> bytes{};

    static Result<IpAddress> parse(std::string_view text);
    [[nodiscard]] std::string str() const;
    [[nodiscard]] unsigned bits() const; // 32 or 128
    // ::ffff:a.b.c.d for IPv4, the address itself for IPv6: the form of the BPF maps (bpf/penstock_abi.h).
    [[nodiscard]] std::array<std::uint8_t, 16> mapped() const;
    auto operator<=>(const IpAddress&) const = default;
};

// A prefix without host bits.
struct IpPrefix {
    IpAddress address;
    unsigned length = 0; // bits of its own family: 0..32 or 0..128

    // "10.0.0.0/8"; without a slash the full length. Host bits that are set are an error.
    static Result<IpPrefix> parse(std::string_view text);
    // The network of this length that the address is in.
    static IpPrefix around(IpAddress address, unsigned length);
    [[nodiscard]] std::string str() const;
    [[nodiscard]] bool contains(const IpAddress& other) const;
    [[nodiscard]] bool contains(const IpPrefix& other) const;
    [[nodiscard]] bool overlaps(const IpPrefix& other) const;
    auto operator<=>(const IpPrefix&) const = default;
};

struct MacAddress {
    std::array<std::uint8_t, 6> bytes{};

    // "02:00:00:00:00:12", any case; group addresses and all-zero are refused.
    static Result<MacAddress> parse(std::string_view text);
    [[nodiscard]] std::string str() const;
    auto operator<=>(const MacAddress&) const = default;
};

// An SPI as people write it: eight hex digits. Host byte order.
std::string spi_text(std::uint32_t spi);

} // namespace penstock
