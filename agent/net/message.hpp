// Builds and reads netlink messages over libnl's core. Inside agent/net only: the one header that shows libnl.
//
// Attributes are written by number and not through libnl-route and libnl-xfrm: version 3.7 lacks half of what is needed
// here (output marks, SA direction, SPI allocation, inverted rules), and one way of doing it is easier to check than
// two.
#pragma once

#include "agent/base/ip.hpp"

#include <netinet/in.h> // before any linux/ header that declares the same types

#include <netlink/attr.h>
#include <netlink/msg.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace penstock::net {

// A request under construction. Its memory is wiped before it is freed: it may hold a key.
class Message {
public:
    // flags: NLM_F_* of the operation; REQUEST, ACK and DUMP are added by Socket.
    explicit Message(int type, int flags = 0);
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;
    ~Message();

    // The fixed part of the family (rtmsg, xfrm_usersa_info ...), exactly once and first.
    template <class Header> Message& header(const Header& value) {
        static_assert(std::is_trivially_copyable_v<Header>);
        append(&value, sizeof value);
        return *this;
    }
    Message& put_bytes(int attribute, const void* data, std::size_t size);
    template <class T> Message& put(int attribute, const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        return put_bytes(attribute, &value, sizeof value);
    }
    Message& put_string(int attribute, const std::string& text) {
        return put_bytes(attribute, text.c_str(), text.size() + 1);
    }
    // 4 or 16 bytes, network byte order.
    Message& put_address(int attribute, const IpAddress& address) {
        return put_bytes(attribute, address.bytes.data(), address.bits() / 8);
    }

    [[nodiscard]] bool too_long() const { return too_long_; }
    [[nodiscard]] nl_msg* get() const { return message_; }
    [[nodiscard]] nlmsghdr& raw() const { return *nlmsg_hdr(message_); }

private:
    void append(const void* data, std::size_t size);

    nl_msg* message_;
    bool too_long_ = false;
};

// The attributes of a received message, by number. Views into it: never outlives it.
class Attributes {
public:
    static constexpr int kMax = 80; // above every attribute read here (IFLA_ are the most)

    Attributes(const nlattr* first, int length);
    // Behind the fixed part of a message.
    template <class Header> static Attributes after(const nlmsghdr& message) {
        return {nlmsg_attrdata(&message, sizeof(Header)), nlmsg_attrlen(&message, sizeof(Header))};
    }

    [[nodiscard]] const nlattr* raw(int attribute) const { return table_[static_cast<std::size_t>(attribute)]; }
    [[nodiscard]] bool has(int attribute) const { return raw(attribute) != nullptr; }
    // Empty if the attribute is missing or shorter than T.
    template <class T> [[nodiscard]] std::optional<T> get(int attribute) const {
        const nlattr* attr = raw(attribute);
        if (attr == nullptr || nla_len(attr) < static_cast<int>(sizeof(T)))
            return std::nullopt;
        T value;
        std::memcpy(&value, nla_data(attr), sizeof value);
        return value;
    }
    [[nodiscard]] std::string text(int attribute) const; // "" if missing
    [[nodiscard]] std::optional<IpAddress> address(int attribute, int family) const;
    [[nodiscard]] Attributes nested(int attribute) const;

private:
    std::array<const nlattr*, kMax + 1> table_{};
};

// The fixed part of a received message; empty if it is too short to be one.
template <class Header> std::optional<Header> header_of(const nlmsghdr& message) {
    if (nlmsg_datalen(&message) < static_cast<int>(sizeof(Header)))
        return std::nullopt;
    Header value;
    std::memcpy(&value, nlmsg_data(&message), sizeof value);
    return value;
}

} // namespace penstock::net
