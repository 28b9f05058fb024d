#include "agent/net/monitor.hpp"

#include "agent/net/subscription.hpp"

#include <linux/rtnetlink.h>

namespace penstock::net {

Result<Monitor> Monitor::make() {
    auto fd = subscribe(NETLINK_ROUTE,
                        {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                         RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_TC, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF});
    if (!fd)
        return fail("cannot watch the network configuration", std::move(fd.error()));
    return Monitor(std::move(*fd));
}

Result<Changes> Monitor::drain() {
    Changes changes;
    auto overrun = drain_messages(fd_.get(), [&](const nlmsghdr& message) {
        switch (message.nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
            changes.links = true;
            break;
        case RTM_NEWADDR:
        case RTM_DELADDR:
            changes.addresses = true;
            break;
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
            changes.routes = true;
            break;
        case RTM_NEWRULE:
        case RTM_DELRULE:
            changes.rules = true;
            break;
        case RTM_NEWQDISC:
        case RTM_DELQDISC:
        case RTM_NEWTFILTER:
        case RTM_DELTFILTER:
            changes.hooks = true;
            break;
        case RTM_NEWNETCONF:
        case RTM_DELNETCONF:
            changes.sysctls = true;
            break;
        default:
            break;
        }
    });
    if (!overrun)
        return tl::unexpected(std::move(overrun.error()));
    if (*overrun)
        changes = {true, true, true, true, true, true, true};
    return changes;
}

} // namespace penstock::net
