#include "policy/read_values.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <sys/socket.h>

namespace penstock::policy {
namespace {

bool only(std::string_view text, std::string_view allowed) {
    return !text.empty() && text.find_first_not_of(allowed) == text.npos;
}

constexpr std::string_view kAddressCharacters = "0123456789abcdefABCDEF.:/";

// An address, said before inet_pton sees bytes that it might stop at.
Status looks_like_address(std::string_view text) {
    if (only(text, kAddressCharacters) && text.find_first_of(".:") != text.npos)
        return {};
    const bool name =
        std::ranges::any_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }) &&
        text.find('/') == text.npos && text.find(':') == text.npos;
    if (name)
        return fail("the DNS name " + quote(text) +
                    " is not supported by this version of penstock; write its addresses");
    return fail(quote(text) + " is not an IP address or prefix such as 203.0.113.10/32 or 2001:db8::10/128");
}

// IPv4 addresses live at ::ffff:0:0/96 in the compiled form; IPv6 that reaches in there would mean both.
const IpPrefix& mapped_block() {
    static const IpPrefix block = *IpPrefix::parse("::ffff:0:0/96");
    return block;
}

Result<std::uint16_t> read_port(std::string_view digits) {
    const auto number = read_number(digits);
    if (!number || *number < 1 || *number > 65535)
        return fail("a port is a number from 1 to 65535, not " + quote(digits));
    return static_cast<std::uint16_t>(*number);
}

} // namespace

std::string unsupported(std::string_view mend) {
    return "is not supported by this version of penstock; " + std::string(mend);
}

bool is_later_feature(std::string_view key) {
    constexpr std::array<std::string_view, 10> later{"when",  "rate",   "require", "from", "deny",
                                                     "learn", "groups", "mud",     "vlan", "interface"};
    return std::ranges::find(later, key) != later.end();
}

Result<std::uint64_t> read_number(std::string_view digits) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size() ||
        (digits.size() > 1 && digits.front() == '0'))
        return fail(quote(digits) + " is not a number from 0 to 18446744073709551615 without leading zeros");
    return value;
}

Result<IpPrefix> read_prefix(std::string_view text) {
    if (auto shape = looks_like_address(text); !shape)
        return tl::unexpected(shape.error());
    if (const auto slash = text.find('/'); slash != text.npos && !read_number(text.substr(slash + 1)))
        return fail(quote(text) + ": the prefix length must be a number without leading zeros");
    auto prefix = IpPrefix::parse(text);
    if (prefix && prefix->address.family == AF_INET6 && prefix->overlaps(mapped_block()))
        return fail(quote(text) + " covers IPv4-mapped addresses (::ffff:0:0/96); write IPv4 as such, and 2000::/3 for "
                                  "all global IPv6");
    return prefix;
}

Result<IpAddress> read_address(std::string_view text) {
    if (auto shape = looks_like_address(text); !shape)
        return tl::unexpected(shape.error());
    if (text.find('/') != text.npos)
        return fail(quote(text) + " is a prefix; a device has single addresses: remove the slash and what follows");
    auto address = IpAddress::parse(text);
    if (!address)
        return address;
    const auto& bytes = address->bytes;
    const bool v4 = address->family == AF_INET;
    const bool unicast = v4 ? bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224
                            : bytes[0] != 0xff && !IpPrefix::parse("::/127")->contains(*address);
    if (!unicast || mapped_block().contains(*address))
        return fail(quote(text) + " cannot be the address of a device (unspecified, loopback, multicast, reserved or "
                                  "IPv4-mapped)");
    return address;
}

Result<MacAddress> read_mac(std::string_view text) {
    // MacAddress::parse would refuse it too, but quotes it as it is.
    if (!only(text, "0123456789abcdefABCDEF:"))
        return fail(quote(text) + " is not a MAC address such as 02:00:00:00:00:12");
    return MacAddress::parse(text);
}

Result<PortRange> read_ports(std::string_view text) {
    const auto slash = text.find('/');
    const auto name = text.substr(0, slash);
    if (name.starts_with("icmp"))
        return fail(quote(text) + ": " + std::string(name.starts_with("icmpv6") ? "icmpv6" : "icmp") + " " +
                    unsupported("remove it"));
    const auto proto = proto_from_name(name);
    if (!proto || slash == text.npos)
        return fail(quote(text) + " is not tcp/PORT, udp/PORT or a range such as udp/5000-5100");
    const auto ports = text.substr(slash + 1);
    const auto dash = ports.find('-');
    const auto lo = read_port(ports.substr(0, dash));
    const auto hi = dash == ports.npos ? lo : read_port(ports.substr(dash + 1));
    if (!lo || !hi)
        return fail(quote(text) + ": " + (!lo ? lo : hi).error().message());
    if (*lo > *hi)
        return fail(quote(text) + ": the range ends before it starts; swap the two numbers");
    return PortRange{*proto, *lo, *hi};
}

} // namespace penstock::policy
