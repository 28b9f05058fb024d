// A non-blocking netlink socket that receives multicast groups. Inside agent/net only.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"
#include "agent/net/message.hpp"

#include <cstdint>
#include <functional>
#include <initializer_list>

namespace penstock::net {

// groups: RTNLGRP_* or XFRMNLGRP_* numbers (not bits). The receive buffer is large, so that a burst is not an overrun.
Result<Fd> subscribe(int protocol, std::initializer_list<int> groups);

// Keeps messages of these types away from the socket, in the kernel: those that carry what we do not want to hold.
Status refuse_messages(const Fd& socket, std::initializer_list<std::uint16_t> types);

// Gives each message of at most a bounded number of queued datagrams to on_message. True if the kernel had to drop
// some.
Result<bool> drain_messages(int fd, const std::function<void(const nlmsghdr&)>& on_message);

} // namespace penstock::net
