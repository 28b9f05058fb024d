// The scalars of the rule book: prefixes, ports, addresses; what this version does not know yet is refused by its name.
#pragma once

#include "agent/base/ip.hpp"
#include "policy/model.hpp"

#include <span>
#include <string>
#include <string_view>

namespace penstock::policy {

// "... is not supported by this version of penstock; <mend>"
std::string unsupported(std::string_view mend);

// Errors are sentences without a place: "\"10.0.0.1/8\" has host bits set; did you mean 10.0.0.0/8?"
Result<IpPrefix> read_prefix(std::string_view text);   // what a service is reached at
Result<IpAddress> read_address(std::string_view text); // what a device owns: unicast
Result<MacAddress> read_mac(std::string_view text);
Result<PortRange> read_ports(std::string_view text);
Result<std::uint64_t> read_number(std::string_view digits); // decimal, no leading zero

Status read_days(std::string_view text, Window& window);     // "mon-fri", "sat,sun"
Status read_hours(std::string_view text, Window& window);    // "06:00-20:00"; over midnight "22:00-06:00"
Result<std::uint64_t> read_byte_rate(std::string_view text); // "1mbit", "200kB": bytes a second
std::string byte_rate_text(std::uint64_t rate);              // what read_byte_rate reads back
bool is_interface_name(std::string_view text);

// Keys of later versions.
bool is_later_feature(std::string_view key);

} // namespace penstock::policy
