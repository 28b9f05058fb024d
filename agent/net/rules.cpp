#include "agent/net/rules.hpp"

#include "agent/net/message.hpp"
#include "agent/net/socket.hpp"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

namespace penstock::net {
namespace {

// Attributes that Rule holds, or that say nothing. Whatever else a rule carries makes it foreign.
bool modelled(int attribute) {
    switch (attribute) {
    case FRA_UNSPEC:
    case FRA_DST:
    case FRA_SRC:
    case FRA_IIFNAME:
    case FRA_OIFNAME:
    case FRA_PRIORITY:
    case FRA_FWMARK:
    case FRA_FWMASK:
    case FRA_TABLE:
    case FRA_PROTOCOL:
    case FRA_SUPPRESS_IFGROUP: // looked at below
    case FRA_SUPPRESS_PREFIXLEN:
    case FRA_PAD:
        return true;
    default:
        return false;
    }
}

bool is_foreign(const fib_rule_hdr& header, const Attributes& attrs) {
    constexpr std::uint32_t kNone = 0xffffffff;
    if (header.tos != 0 || attrs.get<std::uint32_t>(FRA_SUPPRESS_PREFIXLEN).value_or(kNone) != kNone ||
        attrs.get<std::uint32_t>(FRA_SUPPRESS_IFGROUP).value_or(kNone) != kNone)
        return true;
    for (int attribute = 0; attribute <= Attributes::kMax; attribute++)
        if (attrs.has(attribute) && !modelled(attribute))
            return true;
    return false;
}

std::optional<Rule> parse_rule(const nlmsghdr& message) {
    const auto header = header_of<fib_rule_hdr>(message);
    if (message.nlmsg_type != RTM_NEWRULE || !header || (header->family != AF_INET && header->family != AF_INET6))
        return std::nullopt;
    const auto attrs = Attributes::after<fib_rule_hdr>(message);
    Rule rule;
    rule.family = header->family;
    rule.priority = attrs.get<std::uint32_t>(FRA_PRIORITY).value_or(0);
    if (attrs.has(FRA_IIFNAME))
        rule.iif = attrs.text(FRA_IIFNAME);
    if (attrs.has(FRA_OIFNAME))
        rule.oif = attrs.text(FRA_OIFNAME);
    if (const auto source = attrs.address(FRA_SRC, rule.family))
        rule.from = IpPrefix{*source, header->src_len};
    if (const auto destination = attrs.address(FRA_DST, rule.family))
        rule.to = IpPrefix{*destination, header->dst_len};
    if (attrs.has(FRA_FWMARK) || attrs.has(FRA_FWMASK))
        rule.fwmark = std::pair(attrs.get<std::uint32_t>(FRA_FWMARK).value_or(0),
                                attrs.get<std::uint32_t>(FRA_FWMASK).value_or(0xffffffff));
    rule.invert = (header->flags & FIB_RULE_INVERT) != 0;
    rule.action = header->action == FR_ACT_TO_TBL        ? Rule::Action::lookup
                  : header->action == FR_ACT_UNREACHABLE ? Rule::Action::unreachable
                                                         : Rule::Action::other;
    if (rule.action == Rule::Action::lookup)
        rule.table = attrs.get<std::uint32_t>(FRA_TABLE).value_or(header->table);
    rule.protocol = attrs.get<std::uint8_t>(FRA_PROTOCOL).value_or(0);
    rule.foreign = is_foreign(*header, attrs);
    return rule;
}

Status fill(Message& message, const Rule& rule, const std::string& what) {
    if (rule.family != AF_INET && rule.family != AF_INET6)
        return fail(what + ": the family is neither IPv4 nor IPv6", EINVAL);
    if (rule.foreign || rule.action == Rule::Action::other)
        return fail(what + ": it has parts this agent does not know", EINVAL);
    if ((rule.from && rule.from->address.family != rule.family) || (rule.to && rule.to->address.family != rule.family))
        return fail(what + ": a prefix is of the other address family", EINVAL);
    fib_rule_hdr header{};
    header.family = static_cast<std::uint8_t>(rule.family);
    header.action = rule.action == Rule::Action::lookup ? FR_ACT_TO_TBL : FR_ACT_UNREACHABLE;
    header.table = static_cast<std::uint8_t>(rule.table < 256 ? rule.table : RT_TABLE_UNSPEC);
    header.flags = rule.invert ? FIB_RULE_INVERT : 0;
    if (rule.from)
        header.src_len = static_cast<std::uint8_t>(rule.from->length);
    if (rule.to)
        header.dst_len = static_cast<std::uint8_t>(rule.to->length);
    // The priority always goes along, also 0: without it the kernel would pick one, or delete at any.
    message.header(header)
        .put<std::uint32_t>(FRA_PRIORITY, rule.priority)
        .put<std::uint8_t>(FRA_PROTOCOL, rule.protocol);
    if (rule.action == Rule::Action::lookup)
        message.put<std::uint32_t>(FRA_TABLE, rule.table);
    if (rule.from)
        message.put_address(FRA_SRC, rule.from->address);
    if (rule.to)
        message.put_address(FRA_DST, rule.to->address);
    if (rule.iif)
        message.put_string(FRA_IIFNAME, *rule.iif);
    if (rule.oif)
        message.put_string(FRA_OIFNAME, *rule.oif);
    if (rule.fwmark)
        message.put<std::uint32_t>(FRA_FWMARK, rule.fwmark->first).put<std::uint32_t>(FRA_FWMASK, rule.fwmark->second);
    return {};
}

} // namespace

std::string Rule::str() const {
    std::string out = std::to_string(priority) + (family == AF_INET6 ? " (IPv6):" : " (IPv4):");
    if (invert)
        out += " not";
    if (from)
        out += " from " + from->str();
    if (to)
        out += " to " + to->str();
    if (iif)
        out += " iif " + *iif;
    if (oif)
        out += " oif " + *oif;
    if (fwmark)
        out += " fwmark " + std::to_string(fwmark->first) + "/" + std::to_string(fwmark->second);
    return out + (action == Action::lookup ? " lookup " + std::to_string(table) : " unreachable");
}

Status add_rule(const Rule& rule) {
    const std::string what = "cannot add rule " + rule.str();
    Message message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    if (auto filled = fill(message, rule, what); !filled)
        return filled;
    return transact(NETLINK_ROUTE, message, what);
}

Status delete_rule(const Rule& rule) {
    const std::string what = "cannot delete rule " + rule.str();
    Message message(RTM_DELRULE);
    if (auto filled = fill(message, rule, what); !filled)
        return filled;
    return transact(NETLINK_ROUTE, message, what);
}

Result<std::vector<Rule>> list_rules() {
    std::vector<Rule> out;
    for (const int family : {AF_INET, AF_INET6}) {
        Message message(RTM_GETRULE);
        fib_rule_hdr header{};
        header.family = static_cast<std::uint8_t>(family);
        message.header(header);
        auto part = collect<Rule>(NETLINK_ROUTE, message, "cannot list the routing rules", parse_rule);
        if (!part)
            return part;
        out.insert(out.end(), part->begin(), part->end());
    }
    return out;
}

} // namespace penstock::net
