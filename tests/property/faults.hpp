// The seeded faults: FAULT(number) in bpf/ is where each is. Append only.
#pragma once

namespace penstock::test {

struct Fault {
    unsigned number;
    const char* what;
};

inline constexpr Fault kFaults[] = {
    {1, "a port range ends one too late"},
    {2, "the port of the wrong side is asked for"},
    {3, "the generation of a flow is not looked at"},
    {4, "who began a flow is mixed up"},
    {5, "a rule that denies allows"},
    {6, "the last rule of a block is not looked at"},
    {7, "an IPv6 prefix matches what it does not hold"},
    {8, "a SYN alone counts as an answer"},
    {9, "a later fragment may overlap the first one"},
    {10, "a later fragment needs no first one"},
    {11, "who answers may speak TLS first"},
    {12, "`to` and `from` are mixed up"},
    {14, "the MAC is not compared"},
    {15, "the identifier of an echo is ignored"},
    {16, "what another device denies is ignored"},
    {17, "a device's ICMP error may go to anybody"},
    {18, "a server may answer in clear"},
};

} // namespace penstock::test
