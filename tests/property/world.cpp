#include "tests/property/world.hpp"

#include <map>

namespace penstock::test {
namespace {

const std::map<std::string, Mac> kDevices{
    {"10.20.0.12", "02:00:00:00:00:12"}, {"10.20.0.22", "02:00:00:00:00:12"}, {"fd20::12", "02:00:00:00:00:12"},
    {"fd20::22", "02:00:00:00:00:12"},   {"10.20.0.13", "02:00:00:00:00:13"}, {"fd20::13", "02:00:00:00:00:13"},
    {"10.20.0.14", "02:00:00:00:00:14"}, {"fd20::14", "02:00:00:00:00:14"},
};
const std::vector<std::string> kOwn4{"10.20.0.12", "10.20.0.22", "10.20.0.13", "10.20.0.14"};
const std::vector<std::string> kOwn6{"fd20::12", "fd20::22", "fd20::13", "fd20::14"};
const std::vector<std::string> kFar4{"203.0.113.7", "203.0.113.8", "203.0.113.15", "203.0.113.16"};
const std::vector<std::string> kFar6{"2001:db8:203::f", "2001:db8:203::10", "2001:db8:203::1f", "2001:db8:203::20"};
const std::vector<std::string> kPrefixes{
    "203.0.113.0/24",           "203.0.113.8/29",           "203.0.113.8/32", "\"2001:db8:203::/64\"",
    "\"2001:db8:203::10/124\"", "\"2001:db8:203::10/128\"", "0.0.0.0/8",      "224.0.0.0/4"};
// No service behind a tunnel, whatever a policy says.
const std::vector<std::string> kNowhere4{"0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.2.3", "255.255.255.255"};
const std::vector<std::string> kNowhere6{"ff02::1", "ff0e::7"};
const std::vector<std::string> kLanPeers{"\"group:g0\"", "\"group:g1\"", "\"device:d12\"", "\"device:d13\"",
                                         "\"device:d14\""};
const std::vector<std::string> kPorts{"tcp/443", "tcp/440-450", "tcp",         "udp/5000-5010", "udp/53",   "udp",
                                      "icmp",    "icmpv6",      "icmp/8",      "icmpv6/128",    "icmp/13",  "any",
                                      "any",     "tcp/1-65535", "udp/1-65535", "tcp/22",        "tcp/65535"};
const std::vector<std::uint16_t> kEdges{1, 22, 53, 439, 440, 443, 444, 450, 451, 4999, 5000, 5010, 5011, 65535};
const std::vector<std::uint16_t> kLocalPorts{40000, 40001, 22};

Bytes pair_of(std::uint16_t high, std::uint16_t low) {
    Bytes out;
    put16(out, high);
    put16(out, low);
    return out;
}

IpAddress parsed(const std::string& text) { return *IpAddress::parse(text); }

// The packet from its IP header on; `lower` is what stands before it.
Packet above(Packet lower, const Sample& s) {
    if (s.later)
        return std::move(lower) / Payload{Bytes(24, 0x42)};
    if (s.proto == 6)
        return std::move(lower) / Tcp{s.source_port, s.destination_port, s.flags} / Payload{s.data};
    if (s.proto == 17)
        return std::move(lower) / Udp{s.source_port, s.destination_port} / Payload{s.data};
    const Bytes rest = s.quoted ? Bytes(4, 0) : pair_of(s.echo_id, 1);
    Bytes body(8, 0x11);
    if (s.quoted) {
        body = s.quoted->frame();
        body.erase(body.begin(), body.begin() + 14);
    }
    if (s.proto == 1)
        return std::move(lower) / Icmp{.type = s.icmp_type, .rest = rest} / Payload{body};
    return std::move(lower) / Icmpv6{.type = s.icmp_type, .rest = rest} / Payload{body};
}

} // namespace

Mac owner(const std::string& address) {
    const auto found = kDevices.find(address);
    return found == kDevices.end() ? Mac{} : found->second;
}

Bytes Sample::frame() const {
    const Ethernet ethernet =
        came == policy::Came::from_device
            ? Ethernet{.source = mac}
            : Ethernet{.source = "02:00:00:00:00:01",
                       .destination = owner(destination).empty() ? "02:00:00:00:00:99" : owner(destination)};
    if (!six())
        return above(ethernet / IPv4{.source = source,
                                     .destination = destination,
                                     .protocol = proto,
                                     .fragment_offset = offset,
                                     .more_fragments = first,
                                     .id = fragment_id},
                     *this);
    Packet lower = ethernet / IPv6{.source = source, .destination = destination};
    const Extension options{.type = 60};
    for (int i = 0; i < extensions; i++)
        lower /= options;
    if (first || later) {
        Extension fragment{.type = 44,
                           .content = pair_of(static_cast<std::uint16_t>(offset << 3 | (first ? 1 : 0)), 0)};
        put16(fragment.content, fragment_id);
        fragment.next_header = proto;
        lower /= fragment;
    }
    return above(std::move(lower), *this);
}

policy::Transit Sample::transit() const {
    policy::Transit out;
    out.packet.came = came;
    if (came == policy::Came::from_device)
        out.packet.mac = *MacAddress::parse(mac);
    out.packet.source = parsed(source);
    out.packet.destination = parsed(destination);
    out.packet.proto = proto;
    const bool icmp = proto == 1 || proto == 58;
    out.packet.source_port = source_port;
    out.packet.destination_port = icmp ? icmp_type : destination_port;
    out.tcp_flags = flags;
    out.echo_id = echo_id;
    if (!icmp)
        out.data = data;
    if (quoted && !(proto == 1 && icmp_type == 4)) // source quench is no error that says anything (RFC 6633)
        out.quoted = policy::Quoted{.source = parsed(quoted->source),
                                    .destination = parsed(quoted->destination),
                                    .proto = quoted->proto,
                                    .source_port = quoted->source_port,
                                    .destination_port = quoted->destination_port,
                                    .icmp_type = quoted->icmp_type,
                                    .echo_id = quoted->echo_id};
    if (first || later) {
        const std::size_t length = (proto == 6 ? 20 : 8) + data.size();
        out.fragment = policy::Fragment{.later = later, .id = fragment_id, .offset = offset};
        if (first) {
            out.fragment->end = static_cast<std::uint16_t>(length / 8);
            out.fragment->odd = length % 8 != 0;
        }
    }
    return out;
}

std::string World::some(const std::vector<std::string>& list, std::size_t most) {
    std::string out = one_of(list);
    for (std::size_t n = below(most); n > 0; n--)
        if (const auto& next = one_of(list); out.find(next) == std::string::npos)
            out += ", " + next;
    return "[" + out + "]";
}

std::string World::service(int number) {
    std::string ports = some(kPorts, 2);
    std::string out = "  s" + std::to_string(number) + ": { " + (chance(65) ? "to: " : "from: ");
    out += chance(75) ? some(kPrefixes, 3) : some(kLanPeers, 2);
    if (chance(30))
        ports = chance(70) ? "[tcp/440-450]" : "[udp/5000-5010]";
    out += ", ports: " + ports;
    if (ports[1] == 't' && ports.find("udp") == std::string::npos && ports.find("icmp") == std::string::npos &&
        ports.find("any") == std::string::npos && chance(40))
        out += ", require: tls";
    else if (ports == "[udp/5000-5010]" && chance(50))
        out += ", require: dtls";
    return out + " }\n";
}

std::string World::policy() {
    std::string out = "fleet: property\nversion: 1\nexpires: 2099-01-01T00:00:00Z\ngateways: [\"*\"]\nservices:\n";
    std::vector<std::string> names;
    for (int i = 0; i < 8; i++) {
        out += service(i);
        names.push_back("s" + std::to_string(i));
    }
    out += "groups:\n";
    for (int i = 0; i < 3; i++) {
        const auto denied = chance(35) ? one_of(names) : std::string();
        std::vector<std::string> allowed;
        for (const auto& name : names)
            if (name != denied && chance(75))
                allowed.push_back(name);
        if (allowed.empty())
            allowed.push_back(denied == "s0" ? "s1" : "s0");
        std::string list;
        for (const auto& name : allowed)
            list += (list.empty() ? "" : ", ") + name;
        out += "  g" + std::to_string(i) + ": { allow: [" + list + "]" +
               (denied.empty() ? "" : ", deny: [" + denied + "]") + " }\n";
    }
    out += "devices:\n";
    const char* const addresses[] = {"10.20.0.12, 10.20.0.22, \"fd20::12\", \"fd20::22\"", "10.20.0.13, \"fd20::13\"",
                                     "10.20.0.14, \"fd20::14\""};
    for (int i = 0; i < 3; i++)
        out += "  - { name: d1" + std::to_string(i + 2) + ", mac: \"02:00:00:00:00:1" + std::to_string(i + 2) +
               "\", addresses: [" + addresses[i] + "], groups: " + some({"g0", "g1", "g2"}, 2) + " }\n";
    return out;
}

Bytes World::some_data(std::uint8_t proto) {
    if (chance(45))
        return {};
    static const std::vector<std::uint8_t> kTypes{20, 21, 22, 22, 22, 23, 25, 26, 0x2f, 'G'};
    Bytes out(proto == 6 ? 12 + 8 * below(3) : 16 + 8 * below(2), 0);
    out[0] = one_of(kTypes);
    if (proto == 6) {
        out[1] = chance(90) ? 3 : 2;
        out[2] = static_cast<std::uint8_t>(below(6));
        set16(out, 3, one_of(std::vector<std::uint16_t>{0, 1, 64, 16640, 16641}));
    } else {
        out[1] = 254;
        out[2] = one_of(std::vector<std::uint8_t>{255, 254, 253, 253, 252});
        set16(out, 11, one_of(std::vector<std::uint16_t>{1, 3, 3, 4, 0}));
    }
    if (chance(10))
        out.resize(1 + below(out.size()));
    return out;
}

Sample World::fresh() {
    const bool six = chance(40), lan = chance(25);
    const auto& own = six ? kOwn6 : kOwn4;
    Sample s;
    const auto device = one_of(own);
    const auto other = lan ? one_of(own) : one_of(six ? kFar6 : kFar4);
    s.came = lan || chance(60) ? policy::Came::from_device : policy::Came::out_of_tunnel;
    s.source = s.came == policy::Came::from_device ? device : other;
    s.destination = s.came == policy::Came::from_device ? other : device;
    s.mac = owner(device);
    const auto kind = below(10);
    s.proto = kind < 5 ? 6 : kind < 8 ? 17 : six ? 58 : 1;
    if (s.proto == 6 || s.proto == 17) {
        s.source_port = one_of(kLocalPorts);
        s.destination_port = one_of(kEdges);
        s.flags = one_of(std::vector<std::uint8_t>{0x02, 0x02, 0x12, 0x10, 0x18});
        s.data = some_data(s.proto);
    } else {
        s.icmp_type =
            one_of(six ? std::vector<std::uint8_t>{128, 128, 129, 144} : std::vector<std::uint8_t>{8, 8, 0, 13});
        s.echo_id = static_cast<std::uint16_t>(7 + below(2));
    }
    return s;
}

// What comes back from the other end.
Sample World::answer(Sample s) {
    std::swap(s.source, s.destination);
    std::swap(s.source_port, s.destination_port);
    if (owner(s.source).empty()) {
        s.came = policy::Came::out_of_tunnel;
    } else {
        s.came = policy::Came::from_device;
        s.mac = owner(s.source);
    }
    if (s.proto == 1 || s.proto == 58)
        s.icmp_type = s.icmp_type == 8 ? 0 : s.icmp_type == 128 ? 129 : s.icmp_type;
    else
        s.data = some_data(s.proto);
    s.flags = one_of(std::vector<std::uint8_t>{0x02, 0x12, 0x10, 0x18});
    return s;
}

// An ICMP error of who got `about`, or of a router on the way.
Sample World::complaint(const Sample& about) {
    Sample s = answer(about);
    s.proto = about.six() ? 58 : 1;
    s.icmp_type =
        about.six() ? static_cast<std::uint8_t>(1 + below(4)) : one_of(std::vector<std::uint8_t>{3, 11, 12, 4});
    s.echo_id = s.source_port = s.destination_port = 0;
    s.data = {};
    s.quoted = std::make_shared<Sample>(about);
    if (chance(25))
        (s.came == policy::Came::from_device ? s.destination : s.source) = one_of(about.six() ? kFar6 : kFar4);
    if (s.came == policy::Came::from_device && !owner(s.destination).empty() && chance(50))
        s.mac = owner(s.source);
    return s;
}

// Into a first fragment; the later ones follow as answers to nothing.
void World::cut(Sample& s) {
    s.first = true;
    s.fragment_id = next_id_++;
    s.data.resize(4 + 8 * (1 + below(2)) + (s.proto == 17 ? 4 : 0), 0x42);
    if (chance(10))
        s.data.resize(s.data.size() + 1);
}

Sample World::packet() {
    Sample s;
    const auto kind = past_.empty() ? 0 : below(100);
    if (!past_.empty() && past_.back().first && chance(85)) {
        s = past_.back();
        s.first = false;
        s.later = true;
        s.offset = static_cast<std::uint16_t>(1 + below(7));
        if (chance(10))
            s.fragment_id = next_id_++;
        past_.back().first = false;
        return s;
    }
    if (kind < 35) {
        s = fresh();
    } else {
        const auto& before = past_[past_.size() - 1 - below(std::min<std::size_t>(past_.size(), 24))];
        if (kind < 70)
            s = answer(before);
        else if (kind < 84)
            s = before;
        else if (!before.quoted && before.extensions == 0)
            s = complaint(before);
        else
            s = answer(fresh());
        if (kind >= 70 && kind < 84 && (s.proto == 6 || s.proto == 17))
            s.data = some_data(s.proto);
    }
    if (chance(4) && s.came == policy::Came::from_device)
        s.mac = one_of(std::vector<Mac>{"02:00:00:00:00:13", "02:00:00:00:00:12", "02:00:00:00:00:99"});
    s.extensions = s.six() && !s.quoted && chance(15) ? static_cast<int>(1 + below(3)) : 0;
    s.first = false;
    if ((s.proto == 6 || s.proto == 17) && chance(8))
        cut(s);
    past_.push_back(s);
    if (chance(3) && s.came == policy::Came::from_device && !s.quoted)
        s.destination = one_of(s.six() ? kNowhere6 : kNowhere4);
    return s;
}

} // namespace penstock::test
