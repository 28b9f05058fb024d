// Which interface a descriptor of /dev/net/tun is.
#pragma once

#include "agent/net/links.hpp"

namespace penstock::net {

// EBADF: no TUN (a TAP neither), or one of another network namespace than the caller's. The descriptor may come from
// anybody. Needs CAP_NET_ADMIN (TUNGETDEVNETNS, Linux 5.2).
Result<Link> find_tun(int fd);

} // namespace penstock::net
