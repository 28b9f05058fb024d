#include "policy/model.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace penstock::policy {
namespace {

constexpr std::array<std::pair<Proto, std::string_view>, 5> kProtos{
    {{Proto::any, "any"}, {Proto::icmp, "icmp"}, {Proto::tcp, "tcp"}, {Proto::udp, "udp"}, {Proto::icmpv6, "icmpv6"}}};

struct IcmpType {
    Proto proto;
    std::uint16_t number;
    std::string_view name;
};
constexpr std::array<IcmpType, 12> kIcmpTypes{{
    {Proto::icmp, 0, "echo-reply"},
    {Proto::icmp, 3, "destination-unreachable"},
    {Proto::icmp, 8, "echo-request"},
    {Proto::icmp, 11, "time-exceeded"},
    {Proto::icmp, 12, "parameter-problem"},
    {Proto::icmp, 13, "timestamp-request"},
    {Proto::icmpv6, 1, "destination-unreachable"},
    {Proto::icmpv6, 2, "packet-too-big"},
    {Proto::icmpv6, 3, "time-exceeded"},
    {Proto::icmpv6, 4, "parameter-problem"},
    {Proto::icmpv6, 128, "echo-request"},
    {Proto::icmpv6, 129, "echo-reply"},
}};

bool is_icmp(Proto proto) { return proto == Proto::icmp || proto == Proto::icmpv6; }

} // namespace

std::string_view proto_name(Proto proto) {
    const auto* found = std::ranges::find(kProtos, proto, &std::pair<Proto, std::string_view>::first);
    return found == kProtos.end() ? "?" : found->second;
}

std::optional<Proto> proto_from_name(std::string_view name) {
    const auto* found = std::ranges::find(kProtos, name, &std::pair<Proto, std::string_view>::second);
    return found == kProtos.end() ? std::nullopt : std::optional(found->first);
}

std::string_view require_name(Require require) {
    return require == Require::none ? "" : require == Require::tls ? "tls" : "dtls";
}

std::string_view icmp_type_name(Proto proto, std::uint16_t type) {
    for (const IcmpType& known : kIcmpTypes)
        if (known.proto == proto && known.number == type)
            return known.name;
    return {};
}

std::optional<std::uint16_t> icmp_type_from_name(Proto proto, std::string_view name) {
    for (const IcmpType& known : kIcmpTypes)
        if (known.proto == proto && known.name == name)
            return known.number;
    return std::nullopt;
}

std::string PortRange::str() const {
    std::string text(proto_name(proto));
    if (lo == 0 && hi == (is_icmp(proto) ? 255 : 65535))
        return text;
    if (is_icmp(proto)) {
        const auto name = icmp_type_name(proto, lo);
        return text + "/" + (name.empty() ? std::to_string(lo) : std::string(name));
    }
    text += "/" + std::to_string(lo);
    if (hi != lo)
        text += "-" + std::to_string(hi);
    return text;
}

bool Policy::is_for_gateway(std::string_view name) const {
    return std::ranges::any_of(gateways, [&](const std::string& glob) { return glob_matches(glob, name); });
}

const Device* Policy::find_device(std::string_view name) const {
    const auto found =
        std::ranges::lower_bound(devices, name, {}, [](const Device& d) { return std::string_view(d.name); });
    return found != devices.end() && found->name == name ? &*found : nullptr;
}

std::string Policy::cite(Source at) const {
    return (at.file < files.size() ? files[at.file] : std::string("?")) + ":" + std::to_string(at.line);
}

std::string Policy::title() const { return fleet + " version " + std::to_string(version); }

std::string Policy::str(const Peer& peer) const {
    switch (peer.kind) {
    case Peer::Kind::group:
        return "group:" + groups[peer.index].name;
    case Peer::Kind::device:
        return "device:" + devices[peer.index].name;
    case Peer::Kind::prefix:
        break;
    }
    return peer.prefix.str();
}

} // namespace penstock::policy
