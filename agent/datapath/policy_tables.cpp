#include "agent/datapath/policy_tables.hpp"

#include "agent/datapath/gate.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <cstring>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::datapath {
namespace {

penstock_mac abi_mac(const MacAddress& mac) {
    penstock_mac out{};
    std::memcpy(out.bytes, mac.bytes.data(), sizeof out.bytes);
    return out;
}

// What the packet path cannot judge is refused before anything changes.
Status check(const PolicyTables& tables) {
    const auto refuse = [](const char* what) { return fail(std::string("the packet path does not know ") + what); };
    for (const auto& block : tables.blocks) {
        if (block.rules.size() > kMaxRules)
            return fail("limit rules_per_device (" + std::to_string(kMaxRules) + ")");
        if (!block.lan.arp_nd || block.lan.dhcp || block.lan.dns || block.lan.ntp)
            return refuse("services of the gateway on the LAN yet");
        if (block.bytes_per_second != 0 || block.packets_per_second != 0)
            return refuse("rates yet");
        for (const auto& rule : block.rules) {
            if (!rule.allow)
                return refuse("rules that deny yet");
            if (rule.direction == Direction::from)
                return refuse("flows that the peer begins yet");
            if (rule.peer != Peer::network)
                return refuse("flows between devices yet");
            if (rule.proto != IPPROTO_TCP && rule.proto != IPPROTO_UDP)
                return refuse("rules for protocols other than TCP and UDP yet");
            if (rule.require != Require::none)
                return refuse("`require` yet");
        }
    }
    for (const auto& device : tables.devices)
        if (device.ifindex != 0)
            return refuse("devices that are bound to one LAN yet");
    return {};
}

penstock_rule_block abi_block(const std::vector<Rule>& rules) {
    penstock_rule_block block{};
    for (std::size_t i = 0; i < rules.size() && i < kMaxRules; i++) {
        auto& out = block.rule[i];
        std::memcpy(out.address.bytes, rules[i].address.data(), sizeof out.address.bytes);
        out.mask = mask_of_bits(rules[i].prefix_length);
        out.port_low = rules[i].port_low;
        out.port_span = static_cast<std::uint16_t>(rules[i].port_high - rules[i].port_low);
        out.proto = rules[i].proto;
    }
    return block;
}

Result<Fd> create(bpf_map_type type, const char* name, std::uint32_t key, std::uint32_t value, std::size_t entries,
                  std::uint32_t flags) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
    const auto max = static_cast<std::uint32_t>(std::max<std::size_t>(entries, 1));
    Fd fd(bpf_map_create(type, name, key, value, max, &options));
    if (!fd)
        return fail_errno(std::string("the kernel refuses memory for the policy map ") + name);
    return fd;
}

Status set_inner(const Fd& outer, std::uint32_t half, const Fd& inner) {
    const int fd = inner.get();
    if (bpf_map_update_elem(outer.get(), &half, &fd, BPF_ANY) != 0)
        return fail_errno("cannot stage a policy map");
    return {};
}

} // namespace

Result<PolicyStore> PolicyStore::make(const Programs& programs) {
    PolicyStore out;
    auto gate = programs.map_fd("gate");
    auto devices = programs.map_fd("device_table");
    auto macs = programs.map_fd("mac_table");
    auto rules = programs.map_fd("rule_table");
    for (const auto* fd : {&gate, &devices, &macs, &rules})
        if (!*fd)
            return tl::unexpected(fd->error());
    out.gate_ = {"gate", std::move(*gate)};
    out.device_table_ = std::move(*devices);
    out.mac_table_ = std::move(*macs);
    out.rule_table_ = std::move(*rules);
    return out;
}

std::uint32_t PolicyStore::generation() const { return gate_.find(PENSTOCK_GATE_GENERATION).value_or(0); }

Status PolicyStore::stage(const PolicyTables& tables) {
    if (auto ok = check(tables); !ok)
        return ok;
    std::size_t addresses = 0;
    for (const auto& device : tables.devices)
        addresses += device.addresses.size();
    auto devices = create(BPF_MAP_TYPE_HASH, "devices", sizeof(penstock_addr), sizeof(penstock_device), addresses, 0);
    auto macs =
        create(BPF_MAP_TYPE_HASH, "macs", sizeof(penstock_mac), sizeof(std::uint32_t), tables.devices.size(), 0);
    auto rules = create(BPF_MAP_TYPE_ARRAY, "rules", sizeof(std::uint32_t), sizeof(penstock_rule_block),
                        tables.blocks.size(), BPF_F_INNER_MAP);
    for (const auto* fd : {&devices, &macs, &rules})
        if (!*fd)
            return tl::unexpected(fd->error());

    for (const auto& device : tables.devices) {
        penstock_device value{};
        std::memcpy(value.mac, device.mac.bytes.data(), sizeof value.mac);
        value.slot = device.slot;
        value.block = device.block;
        const auto mac = abi_mac(device.mac);
        if (bpf_map_update_elem(macs->get(), &mac, &device.slot, BPF_ANY) != 0)
            return fail_errno("cannot fill the policy map macs");
        for (const auto& address : device.addresses) {
            const auto key = to_abi(address);
            if (bpf_map_update_elem(devices->get(), &key, &value, BPF_NOEXIST) != 0)
                return fail_errno("cannot give " + address.str() + " to " + device.mac.str());
        }
    }
    for (std::uint32_t i = 0; i < tables.blocks.size(); i++) {
        const auto block = abi_block(tables.blocks[i].rules);
        if (bpf_map_update_elem(rules->get(), &i, &block, BPF_ANY) != 0)
            return fail_errno("cannot fill the policy map rules");
    }

    // A packet that began under the generation before the current one must be through before its half is used again:
    // this waits for an RCU grace period (membarrier(2), MEMBARRIER_CMD_GLOBAL). One CPU alone cannot be in the middle
    // of a packet.
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
        return fail_errno("cannot wait for the packets under way (membarrier; not on kernels booted with nohz_full)");

    // Generations only go up; 0 means none, and the lowest bit picks the half.
    std::uint32_t next = generation() + 1;
    if (next == 0)
        next = 2;
    const std::uint32_t half = next & 1;
    if (auto ok = set_inner(device_table_, half, *devices); !ok)
        return ok;
    if (auto ok = set_inner(mac_table_, half, *macs); !ok)
        return ok;
    if (auto ok = set_inner(rule_table_, half, *rules); !ok)
        return ok;
    staged_ = next;
    return {};
}

Status PolicyStore::commit() { return gate_.put(PENSTOCK_GATE_GENERATION, staged_); }

Status PolicyStore::lock() {
    if (auto ok = stage({}); !ok)
        return ok;
    return commit();
}

} // namespace penstock::datapath
