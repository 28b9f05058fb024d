// Policies and the default for traffic that no policy selects.
#include "agent/net/xfrm_codec.hpp"

#include <algorithm>
#include <arpa/inet.h>

namespace penstock::net {
namespace {

const char* name_of(Direction direction) {
    return direction == Direction::in ? "in" : direction == Direction::out ? "out" : "fwd";
}

Status put_template(Message& message, const SecurityPolicy& policy, const std::string& what) {
    if (!policy.transform)
        return {};
    if (policy.transform->source.family != policy.transform->destination.family)
        return fail(what + ": both addresses of the template must be of one family", EINVAL);
    xfrm_user_tmpl tmpl{};
    tmpl.id.daddr = to_xfrm(policy.transform->destination);
    tmpl.id.spi = htonl(policy.transform->spi);
    tmpl.id.proto = IPPROTO_ESP;
    tmpl.saddr = to_xfrm(policy.transform->source);
    tmpl.family = static_cast<std::uint16_t>(policy.transform->source.family);
    tmpl.reqid = policy.transform->reqid;
    tmpl.mode = XFRM_MODE_TUNNEL;
    tmpl.aalgos = tmpl.ealgos = tmpl.calgos = ~0U; // the SA decides its cipher, and only AEAD SAs get installed
    message.put(XFRMA_TMPL, tmpl);
    return {};
}

void put_mark(Message& message, const SecurityPolicy& policy) {
    if (policy.mark_mask != 0)
        message.put(XFRMA_MARK, xfrm_mark{policy.mark, policy.mark_mask});
}

Status install(int type, const SecurityPolicy& policy) {
    const std::string what = "cannot add policy " + policy.str();
    if (policy.foreign || (policy.action == SecurityPolicy::Action::block && policy.transform))
        return fail(what + ": not a policy this agent makes", EINVAL);
    auto selector = encode_selector(policy.selector, what);
    if (!selector)
        return tl::unexpected(std::move(selector.error()));
    xfrm_userpolicy_info info{};
    info.sel = *selector;
    info.lft = unlimited();
    info.priority = policy.priority;
    info.dir = static_cast<std::uint8_t>(policy.direction);
    info.action = policy.action == SecurityPolicy::Action::block ? XFRM_POLICY_BLOCK : XFRM_POLICY_ALLOW;
    info.share = XFRM_SHARE_ANY;
    Message message(type);
    message.header(info);
    if (auto put = put_template(message, policy, what); !put)
        return put;
    put_mark(message, policy);
    return transact(NETLINK_XFRM, message, what);
}

// The message that names a policy, for deleting and reading.
Status fill_id(Message& message, const SecurityPolicy& policy, const std::string& what) {
    auto selector = encode_selector(policy.selector, what);
    if (!selector)
        return tl::unexpected(std::move(selector.error()));
    xfrm_userpolicy_id id{};
    id.sel = *selector;
    id.dir = static_cast<std::uint8_t>(policy.direction);
    message.header(id);
    put_mark(message, policy);
    return {};
}

void decode_templates(const Attributes& attrs, SecurityPolicy& out) {
    const nlattr* raw = attrs.raw(XFRMA_TMPL);
    if (raw == nullptr || nla_len(raw) == 0)
        return;
    const auto tmpl = attrs.get<xfrm_user_tmpl>(XFRMA_TMPL);
    if (!tmpl || nla_len(raw) >= 2 * static_cast<int>(sizeof *tmpl) || tmpl->mode != XFRM_MODE_TUNNEL ||
        tmpl->id.proto != IPPROTO_ESP || tmpl->optional != 0) {
        out.foreign = true;
        return;
    }
    out.transform = PolicyTemplate{from_xfrm(tmpl->saddr, tmpl->family), from_xfrm(tmpl->id.daddr, tmpl->family),
                                   tmpl->reqid, ntohl(tmpl->id.spi)};
}

bool requires_esp(const Attributes& attrs) {
    const auto* raw = attrs.raw(XFRMA_TMPL);
    if (raw == nullptr)
        return false;
    const auto* first = static_cast<const xfrm_user_tmpl*>(nla_data(raw));
    return std::any_of(first, first + nla_len(raw) / sizeof *first,
                       [](const auto& tmpl) { return tmpl.id.proto == IPPROTO_ESP && tmpl.optional == 0; });
}

std::optional<SecurityPolicy> parse_policy(const nlmsghdr& message) {
    const auto info = header_of<xfrm_userpolicy_info>(message);
    // Directions above "forward" are the per-socket policies of bypass sockets.
    if (message.nlmsg_type != XFRM_MSG_NEWPOLICY || !info || info->dir > XFRM_POLICY_FWD)
        return std::nullopt;
    const auto attrs = Attributes::after<xfrm_userpolicy_info>(message);
    SecurityPolicy out;
    out.selector = decode_selector(info->sel);
    out.direction = static_cast<Direction>(info->dir);
    out.priority = info->priority;
    out.action = info->action == XFRM_POLICY_BLOCK ? SecurityPolicy::Action::block : SecurityPolicy::Action::allow;
    if (const auto mark = attrs.get<xfrm_mark>(XFRMA_MARK)) {
        out.mark = mark->v;
        out.mark_mask = mark->m;
    }
    out.foreign = attrs.get<std::uint32_t>(XFRMA_IF_ID).value_or(0) != 0 || attrs.has(XFRMA_SEC_CTX) ||
                  attrs.has(XFRMA_OFFLOAD_DEV);
    decode_templates(attrs, out);
    // With an interface id it is asked for packets of that XFRM interface only.
    out.in_clear = out.foreign && out.action == SecurityPolicy::Action::allow &&
                   attrs.get<std::uint32_t>(XFRMA_IF_ID).value_or(0) == 0 && !requires_esp(attrs);
    return out;
}

std::uint8_t encode_default(SecurityPolicy::Action action) {
    return action == SecurityPolicy::Action::block ? XFRM_USERPOLICY_BLOCK : XFRM_USERPOLICY_ACCEPT;
}

SecurityPolicy::Action decode_default(std::uint8_t action) {
    return action == XFRM_USERPOLICY_BLOCK ? SecurityPolicy::Action::block : SecurityPolicy::Action::allow;
}

} // namespace

std::string SecurityPolicy::str() const {
    return std::string(name_of(direction)) + " " + selector.source.str() + " -> " + selector.destination.str() +
           (action == Action::block ? " block"
            : transform             ? " esp"
                                    : " clear") +
           (selector.ifindex != 0 ? " dev " + std::to_string(selector.ifindex) : "");
}

Status add_policy(const SecurityPolicy& policy) { return install(XFRM_MSG_NEWPOLICY, policy); }

Status replace_policy(const SecurityPolicy& policy) { return install(XFRM_MSG_UPDPOLICY, policy); }

Status delete_policy(const SecurityPolicy& policy) {
    const std::string what = "cannot delete policy " + policy.str();
    Message message(XFRM_MSG_DELPOLICY);
    if (auto filled = fill_id(message, policy, what); !filled)
        return filled;
    return transact(NETLINK_XFRM, message, what);
}

Result<std::vector<SecurityPolicy>> list_policies() {
    Message message(XFRM_MSG_GETPOLICY);
    return collect<SecurityPolicy>(NETLINK_XFRM, message, "cannot list the IPsec policies", parse_policy);
}

Result<PolicyUse> query_policy(const SecurityPolicy& policy) {
    const std::string what = "cannot read policy " + policy.str();
    Message message(XFRM_MSG_GETPOLICY);
    if (auto filled = fill_id(message, policy, what); !filled)
        return tl::unexpected(std::move(filled.error()));
    auto socket = Socket::make(NETLINK_XFRM);
    if (!socket)
        return fail(what, std::move(socket.error()));
    std::optional<PolicyUse> use;
    auto done = socket->query(message, what, [&](const nlmsghdr& answer) {
        if (const auto info = header_of<xfrm_userpolicy_info>(answer); info && answer.nlmsg_type == XFRM_MSG_NEWPOLICY)
            use = PolicyUse{info->curlft.add_time, info->curlft.use_time};
    });
    if (!done)
        return tl::unexpected(std::move(done.error()));
    if (!use)
        return fail(what + ": the kernel's answer is not a policy", EBADMSG);
    return *use;
}

Status set_default_policy(const DefaultPolicy& policy) {
    xfrm_userpolicy_default header{};
    header.in = encode_default(policy.in);
    header.fwd = encode_default(policy.forward);
    header.out = encode_default(policy.out);
    Message message(XFRM_MSG_SETDEFAULT);
    message.header(header);
    return transact(NETLINK_XFRM, message, "cannot set the default IPsec policy");
}

Result<DefaultPolicy> get_default_policy() {
    const std::string_view what = "cannot read the default IPsec policy";
    Message message(XFRM_MSG_GETDEFAULT);
    message.header(xfrm_userpolicy_default{});
    auto socket = Socket::make(NETLINK_XFRM);
    if (!socket)
        return fail(what, std::move(socket.error()));
    std::optional<DefaultPolicy> found;
    auto done = socket->query(message, what, [&](const nlmsghdr& answer) {
        if (const auto header = header_of<xfrm_userpolicy_default>(answer))
            found = DefaultPolicy{decode_default(header->in), decode_default(header->fwd), decode_default(header->out)};
    });
    if (!done)
        return tl::unexpected(std::move(done.error()));
    if (!found)
        return fail(std::string(what) + ": the kernel's answer is too short", EBADMSG);
    return *found;
}

} // namespace penstock::net
