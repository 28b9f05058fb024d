#include "policy/read_values.hpp"

#include "policy/limits.hpp"

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

Result<PortRange> read_icmp_type(Proto proto, std::string_view text) {
    auto type = icmp_type_from_name(proto, text);
    if (const auto number = read_number(text); !type && number && *number <= 255)
        type = static_cast<std::uint16_t>(*number);
    if (!type)
        return fail(quote(text) + " is not a type of " + std::string(proto_name(proto)) +
                    ": a number up to 255 or a name such as echo-request");
    return PortRange{proto, *type, *type};
}

std::optional<unsigned> day_index(std::string_view name) {
    constexpr std::array<std::string_view, 7> names{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    const auto* found = std::ranges::find(names, name);
    return found == names.end() ? std::nullopt : std::optional(static_cast<unsigned>(found - names.begin()));
}

// "06:30" or "24:00"
std::optional<std::uint16_t> read_minute(std::string_view text) {
    const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '9' ? text[at] - '0' : 100; };
    const int hour = digit(0) * 10 + digit(1), minute = digit(3) * 10 + digit(4);
    if (text[2] != ':' || minute > 59 || hour > 24 || (hour == 24 && minute != 0))
        return std::nullopt;
    return static_cast<std::uint16_t>(hour * 60 + minute);
}

} // namespace

std::string unsupported(std::string_view mend) {
    return "is not supported by this version of penstock; " + std::string(mend);
}

bool is_later_feature(std::string_view key) {
    constexpr std::array<std::string_view, 2> later{"mud", "vlan"};
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
    const auto proto = proto_from_name(text.substr(0, slash));
    if (!proto)
        return fail(quote(text) +
                    " is not tcp/PORT, udp/PORT, a range such as udp/5000-5100, icmp/TYPE, icmpv6/TYPE, a "
                    "protocol alone, or any");
    const bool icmp = *proto == Proto::icmp || *proto == Proto::icmpv6;
    if (slash == text.npos)
        return PortRange{*proto, 0, static_cast<std::uint16_t>(icmp ? 255 : 65535)};
    const auto what = text.substr(slash + 1);
    if (*proto == Proto::any)
        return fail(quote(text) + ": any has no ports; write any, or name the protocol");
    if (icmp)
        return read_icmp_type(*proto, what);
    const auto dash = what.find('-');
    const auto lo = read_port(what.substr(0, dash));
    const auto hi = dash == what.npos ? lo : read_port(what.substr(dash + 1));
    if (!lo || !hi)
        return fail(quote(text) + ": " + (!lo ? lo : hi).error().message());
    if (*lo > *hi)
        return fail(quote(text) + ": the range ends before it starts; swap the two numbers");
    return PortRange{*proto, *lo, *hi};
}

Status read_days(std::string_view text, Window& window) {
    window.days = 0;
    for (std::string_view rest = text; !rest.empty() || text.empty();) {
        const auto comma = rest.find(',');
        auto item = rest.substr(0, comma);
        item.remove_prefix(std::min(item.find_first_not_of(' '), item.size()));
        const auto dash = item.find('-');
        const auto first = day_index(item.substr(0, dash));
        const auto last = dash == item.npos ? first : day_index(item.substr(dash + 1));
        if (!first || !last || (comma != rest.npos && comma + 1 == rest.size()))
            return fail(quote(text) + " are not days such as mon-fri or sat,sun");
        for (unsigned day = *first;; day = (day + 1) % 7) { // fri-mon goes over the weekend
            window.days |= static_cast<std::uint8_t>(1U << day);
            if (day == *last)
                break;
        }
        rest = comma == rest.npos ? std::string_view{} : rest.substr(comma + 1);
    }
    return {};
}

Status read_hours(std::string_view text, Window& window) {
    const auto begin = text.size() == 11 && text[5] == '-' ? read_minute(text.substr(0, 5)) : std::nullopt;
    const auto end = text.size() == 11 ? read_minute(text.substr(6)) : std::nullopt;
    if (!begin || !end || *begin == 1440)
        return fail(quote(text) + " are not hours such as 06:00-20:00 or, over midnight, 22:00-06:00");
    if (*begin == *end)
        return fail(quote(text) + " is no time at all; for the whole day write 00:00-24:00");
    if (*end == 0) // the same instant, said in one way only
        return fail(quote(text) + ": write the end of a day as 24:00");
    window.begin = *begin;
    window.end = *end;
    return {};
}

Result<std::uint64_t> read_byte_rate(std::string_view text) {
    struct Unit {
        std::string_view name;
        std::uint64_t bits;
    };
    constexpr std::array<Unit, 8> units{{{"bit", 1},
                                         {"kbit", 1'000},
                                         {"mbit", 1'000'000},
                                         {"gbit", 1'000'000'000},
                                         {"B", 8},
                                         {"kB", 8'000},
                                         {"MB", 8'000'000},
                                         {"GB", 8'000'000'000}}};
    const auto digits = text.substr(0, std::min(text.find_first_not_of("0123456789"), text.size()));
    const auto number = read_number(digits);
    const auto* unit = std::ranges::find(units, text.substr(digits.size()), &Unit::name);
    if (!number || unit == units.end())
        return fail(quote(text) + " is not a rate (a second) such as 64kbit, 1mbit or 200kB");
    if (*number > kMaxRate.value || *number * unit->bits / 8 > kMaxRate.value)
        return fail(quote(text) + " is more than the " + describe(kMaxRate) + " in bytes a second");
    if (*number * unit->bits < kMinRate.value * 8)
        return fail(quote(text) + " is less than the " + describe(kMinRate) + " in bytes a second");
    return *number * unit->bits / 8;
}

std::string byte_rate_text(std::uint64_t rate) {
    const std::uint64_t bits = rate * 8;
    if (bits % 1'000'000 == 0)
        return std::to_string(bits / 1'000'000) + "mbit";
    return bits % 1'000 == 0 ? std::to_string(bits / 1'000) + "kbit" : std::to_string(rate) + "B";
}

bool is_interface_name(std::string_view text) {
    return !text.empty() && text.size() <= 15 && text != "." && text != ".." &&
           std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != '/' && c != ':'; });
}

} // namespace penstock::policy
