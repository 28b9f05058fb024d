#include "agent/datapath/policy_store.hpp"

#include "agent/datapath/gate.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <cstring>
#include <linux/membarrier.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::datapath {
namespace {

Status check(const PolicyTables& tables) {
    for (std::size_t i = 0; i < tables.blocks.size(); i++) {
        const auto& rules = tables.blocks[i].rules;
        // The first of the devices that share the block.
        const auto whose = [&] {
            const auto user = std::ranges::find(tables.devices, i, &DeviceEntry::block);
            return user == tables.devices.end() ? std::string("a device") : "device " + user->mac.str();
        };
        if (rules.size() > kMaxRules)
            return fail(whose() + " has " + std::to_string(rules.size()) +
                        " rules, more than limit rules_per_device (" + std::to_string(kMaxRules) +
                        "); give its groups fewer services, or join their prefixes");
        for (std::size_t number = 0; number < rules.size(); number++) {
            const auto& rule = rules[number];
            const auto which = [&] { return "rule " + std::to_string(number + 1) + " of " + whose(); };
            const bool known = rule.proto == 0 || rule.proto == IPPROTO_TCP || rule.proto == IPPROTO_UDP ||
                               rule.proto == IPPROTO_ICMP || rule.proto == IPPROTO_ICMPV6;
            if (!known || rule.port_high < rule.port_low || rule.prefix_length > 128)
                return fail(which() + " has a protocol, ports or a prefix that the packet path does not know");
            if ((rule.require == Require::tls && rule.proto != IPPROTO_TCP && rule.proto != 0) ||
                (rule.require == Require::dtls && rule.proto != IPPROTO_UDP && rule.proto != 0))
                return fail(which() + " requires TLS of what is not TCP, or DTLS of what is not UDP");
        }
    }
    return {};
}

// Whoever began to judge a packet before this call is through after it: an RCU grace period (membarrier(2),
// MEMBARRIER_CMD_GLOBAL). One CPU alone cannot be in the middle of a packet.
Status wait_for_packets_under_way() {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
        return fail_errno("cannot wait for the packets under way (membarrier; not on kernels booted with nohz_full)");
    return {};
}

} // namespace

Result<PolicyStore> PolicyStore::make(const Programs& programs) {
    PolicyStore out;
    auto gate = programs.map_fd("gate");
    auto policy = programs.outer_map("policy");
    auto flows = FlowMemory::make(programs);
    if (!gate)
        return tl::unexpected(gate.error());
    if (!policy)
        return tl::unexpected(policy.error());
    if (!flows)
        return tl::unexpected(flows.error());
    out.gate_ = {"gate", std::move(*gate)};
    out.policy_ = std::move(*policy);
    out.policy_.drop_orphans();
    out.flows_ = std::move(*flows);
    if (const auto generation = out.generation(); generation != 0) {
        auto cells = out.policy_.open(generation & 1);
        if (!cells)
            return tl::unexpected(cells.error());
        out.in_force_ = addresses_in(reinterpret_cast<const penstock_cell*>(cells->at(0)), cells->entries());
    }
    return out;
}

std::uint32_t PolicyStore::generation() const { return gate_.find(PENSTOCK_GATE_GENERATION).value_or(0); }

Status PolicyStore::stage(const PolicyTables& tables) {
    if (auto ok = retire(); !ok) // whoever still reads the half before would read this one
        return ok;
    if (auto ok = check(tables); !ok)
        return ok;
    Result<PolicyLayout> layout = fail("not laid out");
    for (int tries = 0; !layout && tries < 4; tries++) {
        std::uint32_t seed = 0;
        if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
            return fail_errno("cannot get random bytes");
        layout = lay_out(tables, in_force_, seed);
    }
    if (!layout)
        return tl::unexpected(layout.error());
    if (auto ok = flows_.reserve_ipv6(layout->ipv6_slots); !ok)
        return ok;
    auto cells = MappedArray::make("policy", sizeof(penstock_cell), static_cast<std::uint32_t>(layout->cells.size()));
    if (!cells)
        return tl::unexpected(cells.error());
    std::memcpy(cells->at(0), layout->cells.data(), layout->cells.size() * sizeof(penstock_cell));

    // Generations only go up; 0 means none, and the lowest bit picks the half.
    std::uint32_t next = generation() + 1;
    if (next == 0)
        next = 2;
    const std::uint32_t half = next & 1;
    if (auto ok = policy_.put(half, *cells); !ok)
        return tl::unexpected(std::move(ok.error()).with("cannot stage a policy"));
    staged_addresses_ = std::move(layout->addresses);
    staged_ = next;
    return {};
}

Status PolicyStore::commit() {
    if (auto ok = gate_.put(PENSTOCK_GATE_GENERATION, staged_); !ok)
        return ok;
    lost_.clear();
    for (auto kept = staged_addresses_.begin(); const auto& address : in_force_) {
        const auto before = [](const AddressId& a, const AddressId& b) {
            return std::memcmp(&a.address, &b.address, sizeof a.address) < 0;
        };
        while (kept != staged_addresses_.end() && before(*kept, address))
            ++kept;
        if (kept == staged_addresses_.end() || before(address, *kept) || kept->slot != address.slot)
            lost_.push_back(address);
    }
    in_force_ = std::move(staged_addresses_);
    staged_addresses_.clear();
    retired_ = false;
    return {};
}

Status PolicyStore::retire() {
    if (retired_)
        return {};
    if (auto ok = wait_for_packets_under_way(); !ok)
        return ok;
    for (const auto& address : lost_)
        flows_.clear_address(address.slot, is_ipv4(address.address), address.id);
    lost_.clear();
    const std::uint32_t other = (generation() & 1) ^ 1;
    if (auto ok = policy_.clear(other); !ok)
        return tl::unexpected(std::move(ok.error()).with("cannot free the policy before"));
    retired_ = true;
    return {};
}

bool PolicyStore::used_within(const IpAddress& address, std::chrono::seconds age) const {
    const auto wanted = to_abi(address);
    const auto before = [](const AddressId& a, const penstock_addr& b) {
        return std::memcmp(&a.address, &b, sizeof b) < 0;
    };
    const auto found = std::lower_bound(in_force_.begin(), in_force_.end(), wanted, before);
    return found != in_force_.end() && std::memcmp(&found->address, &wanted, sizeof wanted) == 0 &&
           flows_.used_within(found->slot, is_ipv4(wanted), found->id, age);
}

Status PolicyStore::lock() {
    if (auto ok = stage({}); !ok)
        return ok;
    return commit();
}

} // namespace penstock::datapath
