#include "tests/property/capture.hpp"

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace penstock::test {
namespace {

constexpr std::size_t kEthernet = 14, kIpv4 = 20, kIpv6 = 40;

std::uint16_t get16(const Bytes& bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes.at(at) << 8 | bytes.at(at + 1));
}

std::string mac_at(const Bytes& frame, std::size_t at) {
    MacAddress mac;
    for (std::size_t i = 0; i < 6; i++)
        mac.bytes[i] = frame.at(at + i);
    return mac.str();
}

IpAddress address_at(const Bytes& bytes, std::size_t at, int family) {
    char text[INET6_ADDRSTRLEN];
    (void)bytes.at(at + (family == AF_INET ? 3 : 15)); // throws
    inet_ntop(family, bytes.data() + at, text, sizeof text);
    return *IpAddress::parse(text);
}

// What the IP headers say, and where the transport header begins.
struct Ip {
    IpAddress source, destination;
    std::uint8_t proto = 0;
    std::size_t payload = 0, end = 0;
    std::optional<policy::Fragment> fragment;
};

std::optional<Ip> read_ipv4(const Bytes& bytes, std::size_t at) {
    if ((bytes.at(at) & 0x0f) != kIpv4 / 4)
        return std::nullopt;
    const std::uint16_t fragment = get16(bytes, at + 6);
    Ip ip{.source = address_at(bytes, at + 12, AF_INET),
          .destination = address_at(bytes, at + 16, AF_INET),
          .proto = bytes.at(at + 9),
          .payload = at + kIpv4,
          .end = at + get16(bytes, at + 2),
          .fragment = {}};
    if ((fragment & 0x3fff) != 0)
        ip.fragment = policy::Fragment{.later = (fragment & 0x1fff) != 0,
                                       .id = get16(bytes, at + 4),
                                       .offset = static_cast<std::uint16_t>(fragment & 0x1fff)};
    return ip;
}

std::optional<Ip> read_ipv6(const Bytes& bytes, std::size_t at) {
    constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;
    Ip ip{.source = address_at(bytes, at + 8, AF_INET6),
          .destination = address_at(bytes, at + 24, AF_INET6),
          .proto = bytes.at(at + 6),
          .payload = at + kIpv6,
          .end = at + kIpv6 + get16(bytes, at + 4),
          .fragment = {}};
    for (;;) {
        const auto header = ip.payload;
        if (ip.proto == kRouting)
            return std::nullopt;
        if (ip.proto == kFragment) {
            const auto word = get16(bytes, header + 2);
            ip.fragment = policy::Fragment{.later = word >> 3 != 0,
                                           .id = static_cast<std::uint32_t>(get16(bytes, header + 4)) << 16 |
                                                 get16(bytes, header + 6),
                                           .offset = static_cast<std::uint16_t>(word >> 3)};
            ip.payload = header + 8;
        } else if (ip.proto == kHopByHop || ip.proto == kDestination) {
            ip.payload = header + 8 * (1 + static_cast<std::size_t>(bytes.at(header + 1)));
        } else {
            return ip;
        }
        ip.proto = bytes.at(header);
        if (ip.fragment && ip.fragment->later)
            return ip;
    }
}

std::optional<Ip> read_ip(const Bytes& bytes, std::size_t at) {
    const auto version = bytes.at(at) >> 4;
    return version == 4 ? read_ipv4(bytes, at) : version == 6 ? read_ipv6(bytes, at) : std::nullopt;
}

bool is_icmp(const Ip& ip) { return ip.proto == icmp_of(ip.source.family); }

bool is_error(const Ip& ip, std::uint8_t type) {
    return ip.source.family == AF_INET ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

std::optional<policy::Quoted> read_quoted(const Bytes& bytes, std::size_t at) {
    try {
        const auto ip = read_ip(bytes, at);
        if (!ip || (ip->fragment && ip->fragment->later))
            return std::nullopt;
        policy::Quoted out{.source = ip->source, .destination = ip->destination, .proto = ip->proto};
        if (is_icmp(*ip)) {
            out.icmp_type = bytes.at(ip->payload);
            out.echo_id = get16(bytes, ip->payload + 4);
        } else {
            out.source_port = get16(bytes, ip->payload);
            out.destination_port = get16(bytes, ip->payload + 2);
        }
        return out;
    } catch (const std::out_of_range&) {
        return std::nullopt;
    }
}

void read_transport(const Bytes& bytes, const Ip& ip, policy::Transit& out) {
    std::size_t data = ip.end;
    if (ip.proto == IPPROTO_TCP || ip.proto == IPPROTO_UDP) {
        out.packet.source_port = get16(bytes, ip.payload);
        out.packet.destination_port = get16(bytes, ip.payload + 2);
        data = ip.payload + 8;
    }
    if (ip.proto == IPPROTO_TCP) {
        out.tcp_flags = bytes.at(ip.payload + 13);
        data = ip.payload + 4 * static_cast<std::size_t>(bytes.at(ip.payload + 12) >> 4);
    }
    if (is_icmp(ip)) {
        out.packet.destination_port = bytes.at(ip.payload);
        out.echo_id = get16(bytes, ip.payload + 4);
        if (is_error(ip, bytes.at(ip.payload)))
            out.quoted = read_quoted(bytes, ip.payload + 8);
    }
    for (; data < ip.end; data++)
        out.data.push_back(bytes.at(data));
}

} // namespace

std::vector<Bytes> read_capture(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const Bytes all{std::istreambuf_iterator<char>(in), {}};
    const auto wrong = [&](const char* what) { return std::runtime_error(path.string() + ": " + what); };
    constexpr std::size_t kHead = 24, kRecord = 16;
    if (all.size() < kHead)
        throw wrong("no pcap file");
    const bool little = all[0] == 0xd4 || all[0] == 0x4d; // microseconds or nanoseconds
    const auto get32 = [&](std::size_t at) {
        std::uint32_t out = 0;
        for (std::size_t i = 0; i < 4; i++)
            out = out << 8 | all[at + (little ? 3 - i : i)];
        return out;
    };
    if (get32(0) != 0xa1b2c3d4 && get32(0) != 0xa1b23c4d)
        throw wrong("no pcap file (pcapng: convert it with `tcpdump -r FILE -w NEW`)");
    if ((get32(20) & 0xffff) != 1)
        throw wrong("its frames are not Ethernet");
    std::vector<Bytes> out;
    for (std::size_t at = kHead; at + kRecord <= all.size();) {
        const std::size_t size = get32(at + 8);
        at += kRecord;
        if (size > all.size() - at)
            throw wrong("the last frame is cut off");
        out.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at),
                         all.begin() + static_cast<std::ptrdiff_t>(at + size));
        at += size;
    }
    return out;
}

int icmp_of(int family) { return family == AF_INET ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}; }
std::string source_mac(const Bytes& frame) { return mac_at(frame, 6); }
std::string destination_mac(const Bytes& frame) { return mac_at(frame, 0); }
bool is_for_many(const Bytes& frame) { return (frame.at(0) & 1) != 0; }
std::uint16_t ethertype(const Bytes& frame) { return get16(frame, 12); }

std::optional<policy::Transit> transit_of(const Bytes& frame, policy::Came came) {
    try {
        const auto type = ethertype(frame);
        if (type != 0x0800 && type != 0x86dd)
            return std::nullopt;
        const auto ip = read_ip(frame, kEthernet);
        if (!ip || ip->end > frame.size() || ip->payload > ip->end)
            return std::nullopt;
        policy::Transit out;
        out.packet = {.came = came,
                      .mac = *MacAddress::parse(source_mac(frame)),
                      .interface = "",
                      .source = ip->source,
                      .destination = ip->destination,
                      .proto = ip->proto};
        out.fragment = ip->fragment;
        if (!ip->fragment || !ip->fragment->later)
            read_transport(frame, *ip, out);
        if (out.fragment && !out.fragment->later) {
            out.fragment->end = static_cast<std::uint16_t>((ip->end - ip->payload) / 8);
            out.fragment->odd = (ip->end - ip->payload) % 8 != 0;
        }
        return out;
    } catch (const std::out_of_range&) {
        return std::nullopt;
    }
}

} // namespace penstock::test
