#include "agent/base/ip.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace penstock {
namespace {

bool bit(const std::array<std::uint8_t, 16>& bytes, unsigned index) {
    return (bytes[index / 8] >> (7 - index % 8)) & 1;
}

} // namespace

Result<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string copy(text);
    IpAddress address;
    if (copy.find('\0') != std::string::npos)
        return fail("an IP address with a zero byte in it");
    if (inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1)
        address.family = AF_INET;
    else if (inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1)
        address.family = AF_INET6;
    else
        return fail("\"" + copy + "\" is not an IP address");
    return address;
}

std::string IpAddress::str() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (family == 0 || inet_ntop(family, bytes.data(), text, sizeof text) == nullptr)
        return "-";
    return text;
}

unsigned IpAddress::bits() const { return family == AF_INET ? 32 : 128; }

std::array<std::uint8_t, 16> IpAddress::mapped() const {
    if (family != AF_INET)
        return bytes;
    std::array<std::uint8_t, 16> out{};
    out[10] = out[11] = 0xff;
    std::copy_n(bytes.begin(), 4, out.begin() + 12);
    return out;
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
    const auto slash = text.find('/');
    auto address = IpAddress::parse(text.substr(0, slash));
    if (!address)
        return tl::unexpected(address.error());
    IpPrefix prefix{*address, address->bits()};
    if (slash != std::string_view::npos) {
        const auto number = text.substr(slash + 1);
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), prefix.length);
        const bool leading_zero = number.size() > 1 && number.front() == '0';
        if (error != std::errc{} || end != number.data() + number.size() || prefix.length > address->bits() ||
            leading_zero)
            return fail("\"" + std::string(text) + "\": the prefix length must be 0 to " +
                        std::to_string(address->bits()) + ", without leading zeros");
    }
    const auto network = around(prefix.address, prefix.length);
    if (network != prefix)
        return fail("\"" + std::string(text) + "\" has host bits set; did you mean " + network.str() + "?");
    return prefix;
}

IpPrefix IpPrefix::around(IpAddress address, unsigned length) {
    for (unsigned i = length; i < address.bits(); i++)
        address.bytes[i / 8] &= static_cast<std::uint8_t>(~(1U << (7 - i % 8)));
    return {address, length};
}

std::string IpPrefix::str() const { return address.str() + "/" + std::to_string(length); }

bool IpPrefix::contains(const IpAddress& other) const {
    if (other.family != address.family)
        return false;
    for (unsigned i = 0; i < length; i++)
        if (bit(address.bytes, i) != bit(other.bytes, i))
            return false;
    return true;
}

bool IpPrefix::contains(const IpPrefix& other) const { return other.length >= length && contains(other.address); }

bool IpPrefix::overlaps(const IpPrefix& other) const { return contains(other) || other.contains(*this); }

Result<MacAddress> MacAddress::parse(std::string_view text) {
    const auto wrong = [&] {
        return fail("\"" + std::string(text) + "\" is not a MAC address such as 02:00:00:00:00:12");
    };
    MacAddress mac;
    if (text.size() != 17)
        return wrong();
    for (std::size_t i = 0; i < mac.bytes.size(); i++) {
        const char* digits = text.data() + 3 * i;
        const auto [end, error] = std::from_chars(digits, digits + 2, mac.bytes[i], 16);
        if (error != std::errc{} || end != digits + 2 || (i < 5 && digits[2] != ':'))
            return wrong();
    }
    if (mac.bytes[0] & 1 || mac == MacAddress{})
        return fail("\"" + std::string(text) + "\" is not the address of one device (group or zero address)");
    return mac;
}

std::string MacAddress::str() const {
    char text[18];
    std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                  bytes[5]);
    return text;
}

std::string spi_text(std::uint32_t spi) {
    char text[9];
    std::snprintf(text, sizeof text, "%08x", spi);
    return text;
}

} // namespace penstock
