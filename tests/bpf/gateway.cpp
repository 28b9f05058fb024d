#include "tests/bpf/gateway.hpp"

#include <bpf/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <system_error>

namespace penstock::test {
namespace {

// Made once; the private network namespace takes them away.
void make_interfaces() {
    static const bool made = [] {
        // veth, since not every kernel has dummy interfaces.
        for (const auto& [name, peer] :
             {std::pair("lan0", "device0"), std::pair("wan0", "peer0"), std::pair("raw0", "raw1"),
              std::pair("tun0", "tun1"), std::pair("other0", "other1")})
            shell(std::string("ip link add ") + name + " type veth peer name " + peer);
        return true;
    }();
    (void)made;
}

std::shared_ptr<Gateway::Loaded> load() {
    make_interfaces();
    datapath::ProgramOptions options{
        .bpffs = new_bpffs_folder(), .marks = must(datapath::Marks::from_mask(kMask)), .device_capacity = 8};
    auto programs = must(datapath::Programs::load(options));
    return std::make_shared<Gateway::Loaded>(std::move(options), std::move(programs));
}

std::shared_ptr<Gateway::Loaded> load(Gateway::Maps maps) {
    if (maps == Gateway::Maps::own)
        return load();
    static const auto shared = load();
    return shared;
}

} // namespace

IpAddress address(const std::string& text) { return must(IpAddress::parse(text)); }
IpPrefix prefix(const std::string& text) { return must(IpPrefix::parse(text)); }
MacAddress mac(const std::string& text) { return must(MacAddress::parse(text)); }

datapath::Rule rule(const std::string& proto, const std::string& to, std::uint16_t low, std::uint16_t high) {
    static const std::map<std::string, std::uint8_t> kNumbers{
        {"any", 0}, {"icmp", IPPROTO_ICMP}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmpv6", IPPROTO_ICMPV6}};
    const auto where = prefix(to);
    return {.address = where.address.mapped(),
            .prefix_length = where.length + (where.address.family == AF_INET ? 96 : 0),
            .proto = kNumbers.at(proto),
            .port_low = low,
            .port_high = high};
}

Gateway::Gateway(Maps maps)
    : loaded(load(maps)), options(loaded->options), programs(loaded->programs),
      gate(must(datapath::Gate::make(programs))), store(must(datapath::PolicyStore::make(programs))),
      counters(must(datapath::Counters::make(programs))) {
    // What the gateway before this one left behind.
    forget_policy(0);
    set_latch(0);
    gate.keep_links({});
    for (const auto& sa : gate.sas())
        must(gate.remove_sa(sa.destination, sa.spi));
    for (std::uint32_t tunnel = 0; tunnel < PENSTOCK_MAX_TUNNELS; tunnel++) {
        must(gate.set_tunnel(tunnel, false));
        must(gate.set_tunnel_mtu(tunnel, 0));
    }
    for (std::uint32_t slot = 0; slot < options.device_capacity; slot++)
        must(counters.assign({{mac("02:00:00:00:00:99"), slot}}));

    lan = ifindex_of("lan0");
    wan = ifindex_of("wan0");
    raw = ifindex_of("raw0");
    tun = ifindex_of("tun0");
    other = ifindex_of("other0");
    must(gate.set_flags({.esp_in_user_space = true}));
    must(gate.set_link(lan, PENSTOCK_LINK_LAN, 14));
    must(gate.set_link(wan, PENSTOCK_LINK_UPLINK, 14));
    must(gate.set_link(raw, PENSTOCK_LINK_UPLINK, 0));
    must(gate.set_link(tun, PENSTOCK_LINK_TUNNEL, 0));
    must(gate.set_host_addresses({{lan, address("10.20.0.1")},
                                  {lan, address("fd20::1")},
                                  {lan, address("fe80::1")},
                                  {wan, address("192.0.2.1")},
                                  {wan, address("2001:db8:2::1")},
                                  {wan, address("fe80::2")},
                                  {raw, address("192.0.2.129")},
                                  {raw, address("2001:db8:2::129")}}));
    must(gate.set_remote_networks({{prefix("203.0.113.0/24"), 0},
                                   {prefix("2001:db8:203::/64"), 0},
                                   {prefix("203.0.114.0/24"), 1},
                                   {prefix("2001:db8:204::/64"), 1}}));
    std::set<IpPrefix> guarded;
    for (const char* network :
         {"10.20.0.0/24", "fd20::/64", "203.0.113.0/24", "2001:db8:203::/64", "203.0.114.0/24", "2001:db8:204::/64"})
        guarded.insert(prefix(network));
    must(gate.set_guarded_networks(guarded));
    must(gate.set_tunnel(0, true));
    for (const char* peer : {"192.0.2.2", "2001:db8:2::2"}) {
        must(gate.add_sa(address(peer), 0, 0));
        must(gate.add_sa(address(peer), kSpi, 0));
    }
    enforce(policy());
}

datapath::PolicyTables Gateway::policy() {
    datapath::PolicyTables out;
    out.devices = {{.mac = mac("02:00:00:00:00:12"),
                    .addresses = {address("10.20.0.12"), address("fd20::12")},
                    .slot = 1,
                    .block = 0},
                   {.mac = mac("02:00:00:00:00:13"),
                    .addresses = {address("10.20.0.13"), address("fd20::13")},
                    .slot = 2,
                    .block = 1}};
    out.blocks = {{{rule("tcp", "203.0.113.0/24", 443, 445), rule("udp", "203.0.113.10/32", 5000, 5010),
                    rule("tcp", "2001:db8:203::/64", 443, 445), rule("udp", "2001:db8:203::10/128", 5000, 5010),
                    rule("tcp", "198.51.100.0/24", 443, 443), rule("tcp", "2001:db8:bad::/64", 443, 443),
                    rule("tcp", "203.0.114.0/24", 443, 443), rule("tcp", "2001:db8:204::/64", 443, 443)}},
                  {{rule("udp", "203.0.113.0/24", 0, 65535), rule("udp", "2001:db8:203::/64", 0, 65535)}}};
    return out;
}

void Gateway::enforce(const datapath::PolicyTables& tables) {
    must(store.stage(tables));
    must(store.commit());
    must(store.retire());
}

void Gateway::enforce_rules(std::vector<datapath::Rule> rules) {
    auto tables = policy();
    tables.blocks[0].rules = std::move(rules);
    enforce(tables);
}

void Gateway::set_latch(std::uint32_t latch) const {
    const auto map = must(programs.map_fd("gate"));
    const std::uint32_t entry = PENSTOCK_GATE_LATCH;
    if (bpf_map_update_elem(map.get(), &entry, &latch, BPF_ANY) != 0)
        throw std::runtime_error("cannot write the map gate");
}

void Gateway::forget_policy(std::uint32_t flags) {
    const auto map = must(programs.map_fd("gate"));
    for (const auto& [entry, value] : {std::pair<std::uint32_t, std::uint32_t>{PENSTOCK_GATE_GENERATION, 0},
                                       std::pair<std::uint32_t, std::uint32_t>{PENSTOCK_GATE_FLAGS, flags}})
        if (bpf_map_update_elem(map.get(), &entry, &value, BPF_ANY) != 0)
            throw std::runtime_error("cannot write the map gate");
}

namespace {

// To the MAC address that goes with the IP destination in this network: 10.20.0.12 and fd20::12 are 02:00:00:00:00:12.
Bytes delivered(Bytes frame) {
    const std::size_t last = frame.size() >= 14 && frame[12] == 0x86 ? 14 + 39 : 14 + 19;
    if (frame.size() > last && frame[5] == 0x01)
        frame[5] =
            frame[12] == 0x86 ? frame[last] : static_cast<std::uint8_t>(frame[last] / 10 * 16 + frame[last] % 10);
    return frame;
}

} // namespace

std::optional<std::string> Gateway::truncated(const Judge& judge, const Bytes& whole, std::size_t length) {
    try {
        return judge(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
    } catch (const std::system_error& error) {
        if (error.code().value() != EINVAL || length >= 14 + 40)
            throw;
        return std::nullopt;
    }
}

std::string Gateway::judge(datapath::Hook hook, const Bytes& frame, const Context& context) {
    const auto before = counters.drops();
    const auto outcome = run_program(programs, hook, frame, context);
    const auto after = counters.drops();
    mark_after = outcome.mark;
    std::string counted;
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < before.size(); i++) {
        if (before[i].count == after[i].count)
            continue;
        count += after[i].count - before[i].count;
        counted += (counted.empty() ? "" : "+") + after[i].name;
    }
    if (outcome.action == TC_ACT_UNSPEC && count == 0)
        return "pass";
    if (outcome.action == TC_ACT_SHOT && count == 1)
        return counted;
    return "action " + std::to_string(outcome.action) + " and " + std::to_string(count) + " drops: " + counted;
}

std::string Gateway::from_device(const Bytes& frame, std::uint32_t mark) {
    return judge(datapath::Hook::lan_ingress, frame, {.ifindex = lan, .ingress_ifindex = lan, .mark = mark});
}

std::string Gateway::to_device(const Bytes& frame) {
    return judge(datapath::Hook::lan_egress, delivered(frame), {.ifindex = lan, .ingress_ifindex = tun});
}

std::string Gateway::to_device_as_is(const Bytes& frame) {
    return judge(datapath::Hook::lan_egress, frame, {.ifindex = lan, .ingress_ifindex = tun});
}

std::string Gateway::device_to_device(const Bytes& frame) {
    return judge(datapath::Hook::lan_egress, delivered(frame),
                 {.ifindex = lan, .ingress_ifindex = lan, .mark = kDeviceMark});
}

std::string Gateway::uplink(const Bytes& frame, std::uint32_t mark) {
    return judge(datapath::Hook::uplink_egress, frame, {.ifindex = wan, .mark = mark});
}

std::string Gateway::from_uplink(const Bytes& frame) {
    return judge(datapath::Hook::uplink_ingress, frame, {.ifindex = wan, .ingress_ifindex = wan});
}

std::string Gateway::uplink_forwarded(const Bytes& frame, std::uint32_t mark) {
    return judge(datapath::Hook::uplink_egress, frame, {.ifindex = wan, .ingress_ifindex = lan, .mark = mark});
}

} // namespace penstock::test
