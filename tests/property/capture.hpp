// Real traffic: the frames of a capture file, and each of them as a question to the oracle. Knows nothing of the code
// under test.
#pragma once

#include "policy/oracle_gateway.hpp"
#include "tests/bpf/packet.hpp"

#include <filesystem>
#include <optional>
#include <vector>

namespace penstock::test {

// A classic pcap file of Ethernet frames, in either byte order (draft-ietf-opsawg-pcap). Throws what is wrong with it.
std::vector<Bytes> read_capture(const std::filesystem::path& path);

std::string source_mac(const Bytes& frame); // "02:00:00:00:00:12"
std::string destination_mac(const Bytes& frame);
bool is_for_many(const Bytes& frame); // to a group or to everybody (IEEE 802.3, I/G bit)
std::uint16_t ethertype(const Bytes& frame);

int icmp_of(int family); // IPPROTO_ICMP or IPPROTO_ICMPV6

// Nothing: no IP packet, or one that no flow can have (IPv4 options, routing header, cut short).
std::optional<policy::Transit> transit_of(const Bytes& frame, policy::Came came);

} // namespace penstock::test
