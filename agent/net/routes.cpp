#include "agent/net/routes.hpp"

#include "agent/net/message.hpp"
#include "agent/net/socket.hpp"

#include <linux/rtnetlink.h>

namespace penstock::net {
namespace {

constexpr std::uint32_t kIpv6DefaultMetric = 1024;

Route::Type type_of(std::uint8_t rtm_type) {
    switch (rtm_type) {
    case RTN_UNICAST:
        return Route::Type::unicast;
    case RTN_LOCAL:
        return Route::Type::local;
    case RTN_BROADCAST:
        return Route::Type::broadcast;
    case RTN_MULTICAST:
        return Route::Type::multicast;
    case RTN_UNREACHABLE:
        return Route::Type::unreachable;
    default:
        return Route::Type::other;
    }
}

std::uint32_t effective_metric(const Route& route) {
    return route.destination.address.family == AF_INET6 && route.metric == 0 ? kIpv6DefaultMetric : route.metric;
}

// IPv4 only: how far away the next hop is; the kernel refuses a route whose scope contradicts its type.
std::uint8_t scope_of(const Route& route) {
    if (route.destination.address.family != AF_INET)
        return RT_SCOPE_UNIVERSE;
    switch (route.type) {
    case Route::Type::local:
        return RT_SCOPE_HOST;
    case Route::Type::broadcast:
    case Route::Type::multicast:
        return RT_SCOPE_LINK;
    case Route::Type::unicast:
        return route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    default:
        return RT_SCOPE_UNIVERSE;
    }
}

Status fill(Message& message, const Route& route, std::uint8_t scope, const std::string& what) {
    const int family = route.destination.address.family;
    if ((family != AF_INET && family != AF_INET6) || route.destination.length > route.destination.address.bits())
        return fail(what + ": the destination is not an IP prefix", EINVAL);
    if (route.preferred_source && route.preferred_source->family != family)
        return fail(what + ": the preferred source is of the other address family", EINVAL);
    if (route.type == Route::Type::other)
        return fail(what + ": not a kind of route this agent makes", EINVAL);
    rtmsg header{};
    header.rtm_family = static_cast<std::uint8_t>(family);
    header.rtm_dst_len = static_cast<std::uint8_t>(route.destination.length);
    header.rtm_table = static_cast<std::uint8_t>(route.table < 256 ? route.table : RT_TABLE_COMPAT);
    header.rtm_protocol = route.protocol;
    header.rtm_scope = scope;
    header.rtm_type = static_cast<std::uint8_t>(route.type);
    message.header(header)
        .put_address(RTA_DST, route.destination.address)
        .put<std::uint32_t>(RTA_TABLE, route.table)
        .put<std::uint32_t>(RTA_PRIORITY, effective_metric(route));
    if (route.oif != 0)
        message.put<int>(RTA_OIF, route.oif);
    if (route.preferred_source)
        message.put_address(RTA_PREFSRC, *route.preferred_source);
    if (route.gateway && route.gateway->family == family)
        message.put_address(RTA_GATEWAY, *route.gateway);
    else if (route.gateway) { // RFC 5549: an IPv4 route over an IPv6 next hop (kernel 5.2)
        std::uint8_t via[2 + 16];
        const std::uint16_t via_family = static_cast<std::uint16_t>(route.gateway->family);
        std::memcpy(via, &via_family, 2);
        std::memcpy(via + 2, route.gateway->bytes.data(), 16);
        message.put_bytes(RTA_VIA, via, 2 + route.gateway->bits() / 8);
    }
    return {};
}

std::optional<IpAddress> gateway_of(const Attributes& attrs, int family) {
    if (const auto gateway = attrs.address(RTA_GATEWAY, family))
        return gateway;
    const nlattr* via = attrs.raw(RTA_VIA);
    if (via == nullptr || nla_len(via) < 2 + 16)
        return std::nullopt;
    IpAddress gateway{AF_INET6, {}};
    std::memcpy(gateway.bytes.data(), static_cast<const std::uint8_t*>(nla_data(via)) + 2, 16);
    return gateway;
}

std::optional<Route> parse_route(const nlmsghdr& message, std::uint32_t table) {
    const auto header = header_of<rtmsg>(message);
    if (message.nlmsg_type != RTM_NEWROUTE || !header ||
        (header->rtm_family != AF_INET && header->rtm_family != AF_INET6) || (header->rtm_flags & RTM_F_CLONED))
        return std::nullopt;
    const auto attrs = Attributes::after<rtmsg>(message);
    const int family = header->rtm_family;
    Route route;
    route.table = attrs.get<std::uint32_t>(RTA_TABLE).value_or(header->rtm_table);
    if (route.table != table)
        return std::nullopt;
    route.destination = {attrs.address(RTA_DST, family).value_or(IpAddress{family, {}}), header->rtm_dst_len};
    route.type = type_of(header->rtm_type);
    route.oif = attrs.get<int>(RTA_OIF).value_or(0);
    route.gateway = gateway_of(attrs, family);
    route.preferred_source = attrs.address(RTA_PREFSRC, family);
    route.metric = attrs.get<std::uint32_t>(RTA_PRIORITY).value_or(0);
    route.protocol = header->rtm_protocol;
    if (attrs.has(RTA_MULTIPATH) || attrs.has(RTA_NH_ID) || attrs.has(RTA_ENCAP) || header->rtm_tos != 0)
        route.type = Route::Type::other;
    if (route.type == Route::Type::unreachable)
        route.oif = 0; // IPv6 hangs it on the loopback interface, IPv4 on none
    return route;
}

} // namespace

bool Route::operator==(const Route& that) const {
    return type != Type::other && that.type != Type::other && destination == that.destination && table == that.table &&
           type == that.type && oif == that.oif && gateway == that.gateway &&
           preferred_source == that.preferred_source && effective_metric(*this) == effective_metric(that) &&
           protocol == that.protocol;
}

std::string Route::str() const {
    std::string out = type == Type::unreachable ? "unreachable " : type == Type::local ? "local " : "";
    out += destination.str();
    if (gateway)
        out += " via " + gateway->str();
    if (oif != 0)
        out += " dev " + std::to_string(oif);
    if (metric != 0)
        out += " metric " + std::to_string(metric);
    return out;
}

Status replace_route(const Route& route) {
    const std::string what = "cannot add route " + route.str();
    Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    if (auto filled = fill(message, route, scope_of(route), what); !filled)
        return filled;
    return transact(NETLINK_ROUTE, message, what);
}

Status delete_route(const Route& route) {
    const std::string what = "cannot delete route " + route.str();
    Message message(RTM_DELROUTE);
    if (auto filled = fill(message, route, RT_SCOPE_NOWHERE, what); !filled) // NOWHERE: of any scope
        return filled;
    return transact(NETLINK_ROUTE, message, what);
}

Result<std::vector<Route>> list_routes(std::uint32_t table) {
    std::vector<Route> out;
    for (const int family : {AF_INET, AF_INET6}) {
        Message message(RTM_GETROUTE);
        rtmsg header{};
        header.rtm_family = static_cast<std::uint8_t>(family);
        message.header(header).put<std::uint32_t>(RTA_TABLE, table); // the kernel filters (4.20)
        auto part = collect<Route>(NETLINK_ROUTE, message, "cannot list the routes of table " + std::to_string(table),
                                   [&](const nlmsghdr& answer) { return parse_route(answer, table); });
        if (!part && part.error().code() == ENOENT) // nothing was ever put into it
            continue;
        if (!part)
            return part;
        out.insert(out.end(), part->begin(), part->end());
    }
    return out;
}

Result<RouteLookup> lookup_route(const IpAddress& destination, std::uint32_t mark) {
    const std::string what = "no route to " + destination.str();
    Message message(RTM_GETROUTE);
    rtmsg header{};
    header.rtm_family = static_cast<std::uint8_t>(destination.family);
    header.rtm_dst_len = static_cast<std::uint8_t>(destination.bits());
    message.header(header).put_address(RTA_DST, destination);
    if (mark != 0)
        message.put<std::uint32_t>(RTA_MARK, mark);
    auto socket = Socket::make(NETLINK_ROUTE);
    if (!socket)
        return fail(what, std::move(socket.error()));
    std::optional<RouteLookup> found;
    auto done = socket->query(message, what, [&](const nlmsghdr& answer) {
        const auto rtm = header_of<rtmsg>(answer);
        if (answer.nlmsg_type != RTM_NEWROUTE || !rtm)
            return;
        const auto attrs = Attributes::after<rtmsg>(answer);
        found = RouteLookup{attrs.get<int>(RTA_OIF).value_or(0), gateway_of(attrs, destination.family),
                            attrs.address(RTA_PREFSRC, destination.family), type_of(rtm->rtm_type)};
    });
    if (!done)
        return tl::unexpected(std::move(done.error()));
    if (!found)
        return fail(what + ": the kernel's answer is not a route", EBADMSG);
    // IPv4 answers an unreachable route with an error, IPv6 with the route: one behaviour for the caller.
    if (found->type == Route::Type::unreachable || found->type == Route::Type::other)
        return fail_errno(what, EHOSTUNREACH);
    return *found;
}

} // namespace penstock::net
