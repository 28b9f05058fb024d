#include "agent/net/links.hpp"

#include "agent/net/message.hpp"
#include "agent/net/socket.hpp"

#include <linux/if_addr.h>
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
    link.kind = attrs.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND);
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

std::string sentence(const char* verb, const Address& address) {
    return std::string("cannot ") + verb + " address " + address.address.str() + "/" +
           std::to_string(address.prefix_length) + " of interface " + std::to_string(address.ifindex);
}

void fill(Message& message, const Address& address) {
    ifaddrmsg header{};
    header.ifa_family = static_cast<std::uint8_t>(address.address.family);
    header.ifa_prefixlen = static_cast<std::uint8_t>(address.prefix_length);
    header.ifa_scope = address.scope;
    header.ifa_index = static_cast<std::uint32_t>(address.ifindex);
    message.header(header)
        .put_address(IFA_LOCAL, address.address)
        .put_address(IFA_ADDRESS, address.peer.value_or(address.address));
    if (address.broadcast)
        message.put_address(IFA_BROADCAST, *address.broadcast);
    // What the kernel sets itself is not asked for.
    message.put<std::uint32_t>(IFA_FLAGS, address.flags & (IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_HOMEADDRESS));
}

Message& change_link(Message& message, int ifindex, unsigned flags, unsigned change) {
    ifinfomsg header{};
    header.ifi_index = ifindex;
    header.ifi_flags = flags;
    header.ifi_change = change;
    return message.header(header);
}

} // namespace

bool Link::up() const { return (flags & IFF_UP) != 0; }

bool Address::usable() const {
    return (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0 || (flags & IFA_F_OPTIMISTIC);
}

IpPrefix Address::network() const {
    IpPrefix out{peer.value_or(address), prefix_length};
    for (unsigned i = prefix_length; i < out.address.bits(); i++)
        out.address.bytes[i / 8] &= static_cast<std::uint8_t>(~(1U << (7 - i % 8)));
    return out;
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

Status set_link_up(int ifindex, bool up) {
    Message message(RTM_NEWLINK);
    change_link(message, ifindex, up ? IFF_UP : 0, IFF_UP);
    return transact(NETLINK_ROUTE, message,
                    "cannot switch interface " + std::to_string(ifindex) + (up ? " on" : " off"));
}

Status set_link_mtu(int ifindex, unsigned mtu) {
    Message message(RTM_NEWLINK);
    change_link(message, ifindex, 0, 0).put<std::uint32_t>(IFLA_MTU, mtu);
    return transact(NETLINK_ROUTE, message,
                    "cannot set the MTU of interface " + std::to_string(ifindex) + " to " + std::to_string(mtu));
}

Result<std::vector<Address>> list_addresses() {
    Message message(RTM_GETADDR);
    message.header(ifaddrmsg{});
    return collect<Address>(NETLINK_ROUTE, message, "cannot list the addresses", parse_address);
}

Status add_address(const Address& address) {
    Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    fill(message, address);
    return transact(NETLINK_ROUTE, message, sentence("add", address));
}

Status delete_address(const Address& address) {
    Message message(RTM_DELADDR);
    fill(message, address);
    return transact(NETLINK_ROUTE, message, sentence("delete", address));
}

} // namespace penstock::net
