#include "agent/net/message.hpp"

#include <algorithm>
#include <new>

namespace penstock::net {

Message::Message(int type, int flags) : message_(nlmsg_alloc_simple(type, flags)) {
    if (message_ == nullptr)
        throw std::bad_alloc();
}

Message::~Message() {
    // libnl never moves this memory once it is allocated, so there is no second copy to wipe.
    explicit_bzero(nlmsg_hdr(message_), nlmsg_get_max_size(message_));
    nlmsg_free(message_);
}

void Message::append(const void* data, std::size_t size) {
    // nlmsg_append() wants a pointer to non-const but only reads.
    if (nlmsg_append(message_, const_cast<void*>(data), size, NLMSG_ALIGNTO) < 0)
        too_long_ = true;
}

Message& Message::put_bytes(int attribute, const void* data, std::size_t size) {
    if (nla_put(message_, attribute, static_cast<int>(size), data) < 0)
        too_long_ = true;
    return *this;
}

Attributes::Attributes(const nlattr* first, int length) {
    int left = length;
    for (const nlattr* attr = first; nla_ok(attr, left); attr = nla_next(attr, &left)) {
        const int type = nla_type(attr);
        if (type <= kMax)
            table_[static_cast<std::size_t>(type)] = attr;
    }
}

std::string Attributes::text(int attribute) const {
    const nlattr* attr = raw(attribute);
    if (attr == nullptr)
        return "";
    const auto* data = static_cast<const char*>(nla_data(attr));
    return {data, strnlen(data, static_cast<std::size_t>(nla_len(attr)))};
}

std::optional<IpAddress> Attributes::address(int attribute, int family) const {
    const nlattr* attr = raw(attribute);
    IpAddress address{family, {}};
    const auto size = address.bits() / 8;
    if (attr == nullptr || nla_len(attr) < static_cast<int>(size))
        return std::nullopt;
    std::copy_n(static_cast<const std::uint8_t*>(nla_data(attr)), size, address.bytes.begin());
    return address;
}

Attributes Attributes::nested(int attribute) const {
    const nlattr* attr = raw(attribute);
    if (attr == nullptr)
        return {nullptr, 0};
    return {static_cast<const nlattr*>(nla_data(attr)), nla_len(attr)};
}

} // namespace penstock::net
