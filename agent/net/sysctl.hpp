// Network sysctls of the calling thread's network namespace.
#pragma once

#include "agent/base/result.hpp"

#include <string>

namespace penstock::net {

// key: relative to /proc/sys, parts between slashes, begins with "net/": "net/ipv4/conf/lan0.10/forwarding".
// Interface names with dots are safe that way. ENOENT: no such key (or the interface is gone).
Result<std::string> read_sysctl(const std::string& key); // without the newline
Status write_sysctl(const std::string& key, const std::string& value);

// "net/ipv4/conf/<interface>/<name>" or the IPv6 one; interface may be "all" or "default".
std::string interface_sysctl(int family, const std::string& interface, const std::string& name);

} // namespace penstock::net
