#include "agent/net/links.hpp"

#include "agent/net/message.hpp"
#include "agent/net/socket.hpp"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>

namespace penstock::net {
namespace {

std::optional<Link> parse_link(const nlmsghdr& message) {
    const auto header = header_of<ifinfomsg>(message);
    if (message.nlmsg_type != RTM_NEWLINK || !header)
        return std::nullopt;
    const auto attrs = Attributes::after<ifinfomsg>(message);
    Link link;
    link.index = header->ifi_index;
    link.flags = header->ifi_flags;
    link.arphrd = header->ifi_type;
    link.name = attrs.text(IFLA_IFNAME);
    link.mtu = attrs.get<std::uint32_t>(IFLA_MTU).value_or(0);
    link.master = attrs.get<int>(IFLA_MASTER).value_or(0);
    const auto info = attrs.nested(IFLA_LINKINFO);
    link.kind = info.text(IFLA_INFO_KIND);
    if (link.kind == "vlan") {
        const auto data = info.nested(IFLA_INFO_DATA);
        link.vlan = data.get<std::uint16_t>(IFLA_VLAN_ID).value_or(0);
        link.vlan_protocol = ntohs(data.get<std::uint16_t>(IFLA_VLAN_PROTOCOL).value_or(htons(ETH_P_8021Q)));
    }
    // A peer in another namespace has an index of that namespace: it would name the wrong interface here.
    if (!attrs.has(IFLA_LINK_NETNSID))
        link.lower = attrs.get<int>(IFLA_LINK).value_or(0);
    if (link.lower == link.index)
        link.lower = 0;
    if (const nlattr* mac = attrs.raw(IFLA_ADDRESS); mac != nullptr && nla_len(mac) == 6)
        link.mac = *attrs.get<MacAddress>(IFLA_ADDRESS);
    return link;
}

std::optional<Address> parse_address(const nlmsghdr& message) {
    const auto header = header_of<ifaddrmsg>(message);
    if (message.nlmsg_type != RTM_NEWADDR || !header ||
        (header->ifa_family != AF_INET && header->ifa_family != AF_INET6))
        return std::nullopt;
    const auto attrs = Attributes::after<ifaddrmsg>(message);
    const int family = header->ifa_family;
    // IFA_ADDRESS is the peer where there is one; IFA_LOCAL is then ours.
    const auto remote = attrs.address(IFA_ADDRESS, family);
    const auto local = attrs.address(IFA_LOCAL, family);
    if (!remote && !local)
        return std::nullopt;
    Address out;
    out.ifindex = static_cast<int>(header->ifa_index);
    out.address = local ? *local : *remote;
    if (local && remote && *local != *remote)
        out.peer = remote;
    out.prefix_length = header->ifa_prefixlen;
    out.flags = attrs.get<std::uint32_t>(IFA_FLAGS).value_or(header->ifa_flags);
    out.scope = header->ifa_scope;
    out.broadcast = attrs.address(IFA_BROADCAST, family);
    return out;
}

} // namespace

bool Link::up() const { return (flags & IFF_UP) != 0; }

bool Address::usable() const {
    return (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0 || (flags & IFA_F_OPTIMISTIC);
}

Result<std::vector<Link>> list_links() {
    Message message(RTM_GETLINK);
    message.header(ifinfomsg{}).put<std::uint32_t>(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return collect<Link>(NETLINK_ROUTE, message, "cannot list the interfaces", parse_link);
}

Result<Link> find_link(const std::string& name) {
    auto links = list_links();
    if (!links)
        return tl::unexpected(std::move(links.error()));
    const auto found = std::find_if(links->begin(), links->end(), [&](const Link& link) { return link.name == name; });
    if (found == links->end())
        return fail("there is no interface \"" + name + "\"", ENODEV);
    return *found;
}

Result<std::vector<Address>> list_addresses() {
    Message message(RTM_GETADDR);
    message.header(ifaddrmsg{});
    return collect<Address>(NETLINK_ROUTE, message, "cannot list the addresses", parse_address);
}

} // namespace penstock::net
