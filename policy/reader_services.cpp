// Services: who is reached, at which ports, and what the flow must speak.
#include "policy/reader_walk.hpp"

#include <array>

namespace penstock::policy {
namespace {

constexpr std::array<std::string_view, 5> kService{"to", "from", "ports", "require", "at"};
constexpr std::array<std::string_view, 2> kServiceHas{"ports", "at"};

} // namespace

Status PolicyReader::read_service(Value value, const Path& path) {
    Service service;
    service.name = value.key();
    service.at = source(value);
    std::vector<PeerName> names;
    std::string_view direction;
    auto ok = each_field(value, path, kService, kServiceHas, [&](Value field, const Path& here) -> Status {
        if (field.key() == "ports")
            return read_set(field, here, kMaxPortsPerService, service.ports, read_ports);
        if (field.key() == "require")
            return read_require(field, here, service.require);
        if (field.key() == "at")
            return read_at(field, here, service.at);
        if (!direction.empty())
            return wrong(field, here, "a service has either `to` or `from`; make two services of it");
        direction = field.key();
        return read_peers(field, here, service, names);
    });
    if (!ok)
        return ok;
    if (direction.empty())
        return wrong(value, path, R"(has neither "to" (where devices go) nor "from" (who may reach devices); add one)");
    service.direction = direction == "to" ? Direction::to : Direction::from;
    const Proto carrier = service.require == Require::dtls ? Proto::udp : Proto::tcp;
    for (const PortRange& ports : service.ports)
        if (service.require != Require::none && ports.proto != carrier)
            return wrong(service.at, path.str() + ": require: " + std::string(require_name(service.require)) +
                                         " is for " + std::string(proto_name(carrier)) + " only, not " + ports.str() +
                                         "; make a service of its own for that");
    policy_.services.push_back(std::move(service));
    peers_.push_back(std::move(names));
    return {};
}

// Prefixes at once; the names of groups and devices are resolved when all of them are known.
Status PolicyReader::read_peers(Value value, const Path& path, Service& service, std::vector<PeerName>& names) {
    const auto each = [&](Value item, const Path& here) -> Status {
        if (auto ok = expect(item, here, Kind::text, "203.0.113.10/32"); !ok)
            return ok;
        const auto text = item.text();
        const auto twice_here = [&] { return wrong(item, here, quote(text) + " is there twice; keep one"); };
        for (const auto& [prefix, kind] :
             {std::pair("group:", Peer::Kind::group), std::pair("device:", Peer::Kind::device)}) {
            if (!text.starts_with(prefix))
                continue;
            const std::string name(text.substr(std::string_view(prefix).size()));
            for (const PeerName& other : names)
                if (other.kind == kind && other.name.name == name)
                    return twice_here();
            names.push_back({kind, {name, source(item)}});
            return {};
        }
        const auto prefix = read_prefix(text);
        if (!prefix)
            return wrong(item, here, prefix.error().message());
        const Peer peer{Peer::Kind::prefix, *prefix, 0};
        if (std::ranges::find(service.peers, peer) != service.peers.end())
            return twice_here();
        service.peers.push_back(peer);
        return {};
    };
    if (auto ok = each_item(value, path, kMaxPeersPerService, each); !ok)
        return ok;
    if (value.size() == 0)
        return wrong(value, path, "is empty; name at least one");
    return {};
}

Status PolicyReader::read_require(Value value, const Path& path, Require& require) {
    if (auto ok = expect(value, path, Kind::text, "tls"); !ok)
        return ok;
    if (value.text() != "tls" && value.text() != "dtls")
        return wrong(value, path, quote(value.text()) + " is neither tls (over tcp) nor dtls (over udp)");
    require = value.text() == "tls" ? Require::tls : Require::dtls;
    return {};
}

} // namespace penstock::policy
