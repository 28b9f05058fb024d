// What the kernel asks of key management: acquire, expire, mapping; and that policies changed or SAs went.
#include "agent/net/subscription.hpp"
#include "agent/net/xfrm_codec.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

namespace penstock::net {
namespace {

std::optional<XfrmEvent> parse_acquire(const nlmsghdr& message) {
    const auto acquire = header_of<xfrm_user_acquire>(message);
    if (!acquire)
        return std::nullopt;
    const auto attrs = Attributes::after<xfrm_user_acquire>(message);
    Acquire out;
    out.selector = decode_selector(acquire->sel);
    if (const auto tmpl = attrs.get<xfrm_user_tmpl>(XFRMA_TMPL)) {
        out.reqid = tmpl->reqid;
        out.source = from_xfrm(acquire->saddr, tmpl->family);
        out.destination = from_xfrm(acquire->id.daddr, tmpl->family);
    }
    return out;
}

std::optional<XfrmEvent> parse_expire(const nlmsghdr& message) {
    const auto expire = header_of<xfrm_user_expire>(message);
    if (!expire || expire->state.id.spi == 0) // an acquire that nobody answered: there never was an SA
        return std::nullopt;
    const auto& state = expire->state;
    Expire out;
    out.id = {from_xfrm(state.id.daddr, state.family), ntohl(state.id.spi)};
    out.source = from_xfrm(state.saddr, state.family);
    out.reqid = state.reqid;
    out.protocol = state.id.proto;
    out.hard = expire->hard != 0;
    return out;
}

std::optional<XfrmEvent> parse_mapping(const nlmsghdr& message) {
    const auto mapping = header_of<xfrm_user_mapping>(message);
    if (!mapping)
        return std::nullopt;
    const int family = mapping->id.family;
    Mapping out;
    out.id = {from_xfrm(mapping->id.daddr, family), ntohl(mapping->id.spi)};
    out.reqid = mapping->reqid;
    out.old_source = from_xfrm(mapping->old_saddr, family);
    out.new_source = from_xfrm(mapping->new_saddr, family);
    out.old_port = ntohs(mapping->old_sport);
    out.new_port = ntohs(mapping->new_sport);
    return out;
}

} // namespace

Result<XfrmMonitor> XfrmMonitor::make() {
    auto fd = subscribe(NETLINK_XFRM, {XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_MAPPING, XFRMNLGRP_POLICY});
    if (!fd)
        return fail("cannot watch IPsec events", std::move(fd.error()));
    // Only then the group of the SAs: the announcement of a new one carries its key.
    if (auto ok = refuse_messages(*fd, {XFRM_MSG_NEWSA, XFRM_MSG_UPDSA}); !ok)
        return fail("cannot watch IPsec events", std::move(ok.error()));
    const int group = XFRMNLGRP_SA;
    if (setsockopt(fd->get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
        return fail_errno("cannot watch the SAs");
    return XfrmMonitor(std::move(*fd));
}

Result<XfrmMonitor::Batch> XfrmMonitor::drain() {
    Batch batch;
    bool policies = false, sas = false;
    auto overrun = drain_messages(fd_.get(), [&](const nlmsghdr& message) {
        std::optional<XfrmEvent> event;
        switch (message.nlmsg_type) {
        case XFRM_MSG_ACQUIRE:
            event = parse_acquire(message);
            break;
        case XFRM_MSG_EXPIRE:
            event = parse_expire(message);
            break;
        case XFRM_MSG_MAPPING:
            event = parse_mapping(message);
            break;
        case XFRM_MSG_NEWPOLICY:
        case XFRM_MSG_UPDPOLICY:
        case XFRM_MSG_DELPOLICY:
        case XFRM_MSG_FLUSHPOLICY:
        case XFRM_MSG_POLEXPIRE:
        case XFRM_MSG_GETDEFAULT:
            policies = true;
            break;
        case XFRM_MSG_DELSA:
        case XFRM_MSG_FLUSHSA:
            sas = true;
            break;
        default:
            break;
        }
        if (event)
            batch.events.push_back(*event);
    });
    if (!overrun)
        return tl::unexpected(std::move(overrun.error()));
    batch.overrun = *overrun;
    if (policies || batch.overrun)
        batch.events.emplace_back(PoliciesChanged{});
    if (sas || batch.overrun)
        batch.events.emplace_back(SasGone{});
    return batch;
}

} // namespace penstock::net
