#include "agent/net/filters.hpp"

#include "agent/net/message.hpp"
#include "agent/net/socket.hpp"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

namespace penstock::net {

Result<std::optional<Filter>> first_filter(int ifindex, bool ingress) {
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = ifindex;
    header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
    Message message(RTM_GETTFILTER);
    message.header(header);
    auto filters =
        collect<Filter>(NETLINK_ROUTE, message, "cannot list the tc filters of interface " + std::to_string(ifindex),
                        [](const nlmsghdr& answer) -> std::optional<Filter> {
                            const auto tcm = header_of<tcmsg>(answer);
                            // Handle 0 is the head of a priority's list, not a filter.
                            if (answer.nlmsg_type != RTM_NEWTFILTER || !tcm || tcm->tcm_handle == 0)
                                return std::nullopt;
                            return Filter{TC_H_MAJ(tcm->tcm_info) >> 16, tcm->tcm_handle};
                        });
    if (!filters)
        return tl::unexpected(std::move(filters.error()));
    return filters->empty() ? std::nullopt : std::optional(filters->front());
}

} // namespace penstock::net
