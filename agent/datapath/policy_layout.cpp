#include "agent/datapath/policy_layout.hpp"

#include "agent/datapath/gate.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <unordered_map>

namespace penstock::datapath {
namespace {

constexpr std::uint8_t kIds = 16; // of addresses, a device and family: 4 bits of a flow

bool less(const penstock_addr& a, const penstock_addr& b) { return std::memcmp(&a, &b, sizeof a) < 0; }

std::uint32_t ipv4_number(const penstock_addr& address) {
    std::uint32_t be = 0;
    std::memcpy(&be, address.bytes + 12, sizeof be);
    return ntohl(be);
}

std::pair<std::uint64_t, std::uint64_t> halves(const penstock_addr& address) {
    std::pair<std::uint64_t, std::uint64_t> out;
    std::memcpy(&out.first, address.bytes, 8);
    std::memcpy(&out.second, address.bytes + 8, 8);
    return out;
}

// A hash table that the packet path can search: linear probing, the one farthest from home first (Robin Hood), so that
// none is PENSTOCK_PROBES places away.
template <class Entry, class Home> Result<std::vector<Entry>> hash_table(const std::vector<Entry>& entries, Home home) {
    if (entries.empty())
        return std::vector<Entry>{};
    for (std::size_t count = entries.size() * 3 / 2 + 4; count <= entries.size() * 16 + 4; count += count / 4) {
        std::vector<Entry> places(count);
        std::vector<std::uint8_t> distances(count, 0); // 0: empty, else one more than the distance from home
        bool fits = true;
        for (const auto& entry : entries) {
            Entry moving = entry;
            std::size_t at = home(moving, static_cast<std::uint32_t>(count));
            std::uint8_t distance = 1;
            for (; distances[at] != 0 && distance <= PENSTOCK_PROBES; at = at + 1 == count ? 0 : at + 1, distance++)
                if (distances[at] < distance) {
                    std::swap(places[at], moving);
                    std::swap(distances[at], distance);
                }
            if (distance > PENSTOCK_PROBES) {
                fits = false;
                break;
            }
            places[at] = moving;
            distances[at] = distance;
        }
        if (fits)
            return places;
    }
    return fail("cannot lay out the addresses of the policy");
}

class Layout {
public:
    Layout(const PolicyTables& tables, const std::vector<AddressId>& before, std::uint32_t seed)
        : tables_(tables), before_(before) {
        info_.seed = seed;
        out_.cells.resize(1);
    }

    Result<PolicyLayout> make() {
        for (const auto& step : {&Layout::number_addresses, &Layout::add_devices, &Layout::add_blocks})
            if (auto ok = (this->*step)(); !ok)
                return tl::unexpected(ok.error());
        out_.cells[0].info = info_;
        return std::move(out_);
    }

private:
    struct Owned { // an address and the device that has it
        AddressId id;
        std::uint32_t device;
    };

    Status number_addresses() {
        for (std::uint32_t d = 0; d < tables_.devices.size(); d++)
            for (const auto& address : tables_.devices[d].addresses)
                owned_.push_back({{to_abi(address), tables_.devices[d].slot, kIds}, d});
        std::ranges::sort(owned_, [](const auto& a, const auto& b) { return less(a.id.address, b.id.address); });
        for (std::size_t i = 1; i < owned_.size(); i++)
            if (!less(owned_[i - 1].id.address, owned_[i].id.address))
                return fail("cannot give " + from_abi(owned_[i].id.address).str() + " to both " +
                            tables_.devices[owned_[i - 1].device].mac.str() + " and " +
                            tables_.devices[owned_[i].device].mac.str());
        // A number that is free now but was not in the policy before stays free: flows may still carry it.
        std::unordered_map<std::uint64_t, std::uint16_t> taken; // (slot, family) -> numbers
        const auto family = [](const AddressId& a) { return std::uint64_t{a.slot} * 2 + (is_ipv4(a.address) ? 0 : 1); };
        for (const auto& a : before_)
            taken[family(a)] |= static_cast<std::uint16_t>(1U << a.id);
        auto old = before_.begin();
        for (auto& [a, device] : owned_) {
            while (old != before_.end() && less(old->address, a.address))
                ++old;
            if (old != before_.end() && !less(a.address, old->address) && old->slot == a.slot)
                a.id = old->id;
        }
        for (auto& [a, device] : owned_) {
            if (a.id < kIds)
                continue;
            auto& numbers = taken[family(a)];
            a.id = static_cast<std::uint8_t>(std::countr_one(numbers));
            if (a.id >= kIds)
                return fail(tables_.devices[device].mac.str() + " has more than " + std::to_string(kIds) +
                            " addresses of a family, counting those it loses now");
            numbers |= static_cast<std::uint16_t>(1U << a.id);
        }
        for (const auto& [a, device] : owned_) {
            out_.addresses.push_back(a);
            if (!is_ipv4(a.address))
                out_.ipv6_slots = std::max(out_.ipv6_slots, a.slot + 1);
        }
        return {};
    }

    [[nodiscard]] std::uint8_t flags_of(const DeviceEntry& device) const {
        const auto& block = tables_.blocks[device.block];
        std::uint8_t flags = PENSTOCK_DEVICE_USED;
        if (device.ifindex != 0)
            flags |= PENSTOCK_DEVICE_BOUND;
        if (block.bytes_per_second != 0 || block.packets_per_second != 0 || !block.totals.empty())
            flags |= PENSTOCK_DEVICE_RATE;
        if (block.lan.arp_nd)
            flags |= PENSTOCK_DEVICE_ARP_ND;
        if (block.lan.dhcp)
            flags |= PENSTOCK_DEVICE_DHCP;
        return flags;
    }

    // Devices of one block that are in different groups have blocks of their own in the kernel.
    std::uint32_t kernel_block(const DeviceEntry& device) {
        const auto [found, fresh] =
            blocks_.try_emplace({device.block, device.groups}, static_cast<std::uint32_t>(blocks_.size()));
        return found->second;
    }

    Status add_devices() {
        std::vector<penstock_device> devices;
        std::vector<penstock_mac_entry> macs;
        for (const auto& device : tables_.devices) {
            if (device.block >= tables_.blocks.size())
                return fail("device " + device.mac.str() + " names a block of rules that the tables do not have");
            if (device.groups.size() > PENSTOCK_MAX_GROUPS_PER_DEVICE)
                return fail("device " + device.mac.str() + " is in " + std::to_string(device.groups.size()) +
                            " groups, more than limit groups_per_device (" +
                            std::to_string(PENSTOCK_MAX_GROUPS_PER_DEVICE) + "); join some of them");
            penstock_device d{};
            std::memcpy(d.mac, device.mac.bytes.data(), sizeof d.mac);
            d.flags = flags_of(device);
            d.slot = device.slot;
            d.block = kernel_block(device);
            devices.push_back(d);
            penstock_mac_entry m{};
            std::memcpy(m.mac, d.mac, sizeof m.mac);
            m.flags = static_cast<std::uint8_t>(d.flags | (device.learns ? PENSTOCK_DEVICE_LEARNS : 0));
            m.slot = d.slot;
            m.ifindex = device.ifindex;
            macs.push_back(m);
        }
        std::vector<penstock_device_at> hashed;
        add_ipv4(devices, hashed);
        const auto mac_home = [this](const penstock_mac_entry& m, std::uint32_t count) {
            std::uint64_t number = 0;
            std::memcpy(&number, m.mac, sizeof m.mac); // little endian, as the packet path reads it
            return penstock_place(0, number, info_.seed, count);
        };
        const auto address_home = [this](const penstock_device_at& a, std::uint32_t count) {
            const auto [high, low] = halves(a.address);
            return penstock_place(high, low, info_.seed, count);
        };
        const auto addresses = hash_table(hashed, address_home);
        if (!addresses)
            return tl::unexpected(addresses.error());
        const auto mac_places = hash_table(macs, mac_home);
        if (!mac_places)
            return tl::unexpected(mac_places.error());
        info_.address_count = static_cast<std::uint32_t>(addresses->size());
        info_.addresses = append(*addresses);
        info_.mac_count = static_cast<std::uint32_t>(mac_places->size());
        info_.macs = append(*mac_places);
        return {};
    }

    // IPv4 by position where the LAN is dense enough; everything else into `hashed`.
    void add_ipv4(const std::vector<penstock_device>& devices, std::vector<penstock_device_at>& hashed) {
        std::uint32_t low = ~0U, high = 0;
        std::size_t count = 0;
        for (const auto& [a, device] : owned_)
            if (is_ipv4(a.address)) {
                low = std::min(low, ipv4_number(a.address));
                high = std::max(high, ipv4_number(a.address));
                count++;
            }
        const bool dense = count != 0 && high - low < std::max<std::uint64_t>(4096, count * 8);
        std::vector<penstock_device> by_position(dense ? high - low + 1 : 0);
        for (const auto& [a, device] : owned_) {
            auto d = devices[device];
            d.address_id = a.id;
            if (dense && is_ipv4(a.address))
                by_position[ipv4_number(a.address) - low] = d;
            else
                hashed.push_back({.device = d, .address = a.address});
        }
        info_.ipv4_base = dense ? low : 0;
        info_.ipv4_count = static_cast<std::uint32_t>(by_position.size());
        info_.ipv4 = append(by_position);
    }

    Status add_blocks() {
        std::vector<penstock_block> rules; // of tables_.blocks
        rules.reserve(tables_.blocks.size());
        for (const auto& block : tables_.blocks)
            rules.push_back(rules_of(block));
        std::vector<penstock_block> all(blocks_.size());
        for (const auto& [key, index] : blocks_) {
            auto& block = all[index];
            block = rules[key.first];
            block.groups = append(key.second);
            block.group_count = static_cast<std::uint16_t>(key.second.size());
        }
        info_.block_count = static_cast<std::uint32_t>(all.size());
        info_.blocks = append(all);
        return {};
    }

    static std::uint64_t byte_cost(std::uint64_t bytes_per_second) {
        return (1'000'000'000ULL << 16) / bytes_per_second + 1;
    }

    penstock_block rules_of(const Block& block) {
        penstock_block out{};
        if (block.bytes_per_second != 0)
            out.byte_cost = byte_cost(block.bytes_per_second);
        std::vector<penstock_total> totals;
        totals.reserve(block.totals.size());
        for (const auto& total : block.totals)
            totals.push_back({.byte_cost = byte_cost(total.bytes_per_second), .bucket = total.bucket, .pad = 0});
        // The tightest first: what it refuses is not taken from the others.
        std::ranges::sort(totals, std::greater{}, &penstock_total::byte_cost);
        out.total_count = static_cast<std::uint8_t>(totals.size());
        out.totals = append(totals);
        if (block.packets_per_second != 0)
            out.packet_cost = 1'000'000'000ULL / block.packets_per_second + 1;
        out.lan =
            static_cast<std::uint8_t>((block.lan.dhcp ? PENSTOCK_LAN_DHCP : 0) |
                                      (block.lan.dns ? PENSTOCK_LAN_DNS : 0) | (block.lan.ntp ? PENSTOCK_LAN_NTP : 0));
        for (const auto direction : {Direction::to, Direction::from}) {
            std::vector<Rule> some;
            for (const auto& rule : block.rules)
                if (rule.direction == direction)
                    some.push_back(rule);
            // What denies wins, and what asks for less is enough.
            std::ranges::stable_sort(some, {},
                                     [](const Rule& r) { return std::pair(r.allow, r.require != Require::none); });
            const auto from = direction == Direction::from ? 1 : 0;
            std::vector<penstock_rule4> four;
            std::vector<penstock_rule6> six;
            for (const auto& rule : some) {
                if (holds_for(rule, true))
                    four.push_back(rule4(rule));
                if (holds_for(rule, false))
                    six.push_back(rule6(rule));
            }
            out.rules[0][from].count = static_cast<std::uint16_t>(four.size());
            out.rules[0][from].cell = append(four);
            out.rules[1][from].count = static_cast<std::uint16_t>(six.size());
            out.rules[1][from].cell = append(six);
        }
        return out;
    }

    static bool holds_for(const Rule& rule, bool ipv4) {
        if (rule.proto == (ipv4 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP}))
            return false;
        penstock_addr address;
        std::memcpy(address.bytes, rule.address.data(), sizeof address.bytes);
        return rule.peer != Peer::network || ipv4 == (rule.prefix_length >= 96 && is_ipv4(address));
    }

    template <class Out> static Out common(const Rule& rule) {
        Out out{};
        out.proto = rule.proto;
        if (rule.require != Require::none && rule.proto == 0)
            out.proto = rule.require == Require::tls ? IPPROTO_TCP : IPPROTO_UDP;
        out.port_low = rule.proto == 0 ? 0 : rule.port_low;
        out.port_span = rule.proto == 0 ? 0xffff : static_cast<std::uint16_t>(rule.port_high - rule.port_low);
        out.flags = static_cast<std::uint8_t>((rule.allow ? 0 : PENSTOCK_RULE_DENY) |
                                              (rule.require == Require::tls ? PENSTOCK_RULE_TLS : 0) |
                                              (rule.require == Require::dtls ? PENSTOCK_RULE_DTLS : 0) |
                                              (rule.peer == Peer::device ? PENSTOCK_RULE_DEVICE : 0) |
                                              (rule.peer == Peer::group ? PENSTOCK_RULE_GROUP : 0));
        return out;
    }

    static penstock_rule4 rule4(const Rule& rule) {
        auto out = common<penstock_rule4>(rule);
        if (rule.peer != Peer::network) {
            out.address_be = rule.index;
            return out;
        }
        const auto mask = mask_of_bits(rule.prefix_length);
        std::memcpy(&out.address_be, rule.address.data() + 12, sizeof out.address_be);
        std::memcpy(&out.mask_be, mask.bytes + 12, sizeof out.mask_be);
        return out;
    }

    static penstock_rule6 rule6(const Rule& rule) {
        auto out = common<penstock_rule6>(rule);
        if (rule.peer != Peer::network) {
            std::memcpy(out.address.bytes, &rule.index, sizeof rule.index);
            return out;
        }
        std::memcpy(out.address.bytes, rule.address.data(), sizeof out.address.bytes);
        out.mask = mask_of_bits(rule.prefix_length);
        return out;
    }

    // Adds a table behind what is there; its first cell.
    template <class T> std::uint32_t append(const std::vector<T>& entries) {
        static_assert(sizeof(penstock_cell) % sizeof(T) == 0);
        const auto first = out_.cells.size();
        out_.cells.resize(first + (entries.size() * sizeof(T) + sizeof(penstock_cell) - 1) / sizeof(penstock_cell));
        if (!entries.empty())
            std::memcpy(static_cast<void*>(out_.cells.data() + first), entries.data(), entries.size() * sizeof(T));
        return static_cast<std::uint32_t>(first);
    }

    const PolicyTables& tables_;
    const std::vector<AddressId>& before_;
    std::vector<Owned> owned_; // sorted by address
    std::map<std::pair<std::uint32_t, std::vector<std::uint32_t>>, std::uint32_t> blocks_;
    penstock_policy_info info_{};
    PolicyLayout out_;
};

} // namespace

bool is_ipv4(const penstock_addr& address) {
    static constexpr std::uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(address.bytes, kPrefix, sizeof kPrefix) == 0;
}

Result<PolicyLayout> lay_out(const PolicyTables& tables, const std::vector<AddressId>& before, std::uint32_t seed) {
    return Layout(tables, before, seed).make();
}

std::vector<AddressId> addresses_in(const penstock_cell* cells, std::size_t count) {
    std::vector<AddressId> out;
    if (count == 0)
        return out;
    const auto& info = cells[0].info;
    for (std::uint32_t i = 0; i < info.ipv4_count; i++) {
        const auto& device = cells[info.ipv4 + i / 4].device[i % 4];
        const std::uint32_t be = htonl(info.ipv4_base + i);
        penstock_addr address{.bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}};
        std::memcpy(address.bytes + 12, &be, sizeof be);
        if ((device.flags & PENSTOCK_DEVICE_USED) != 0)
            out.push_back({address, device.slot, device.address_id});
    }
    for (std::uint32_t i = 0; i < info.address_count; i++) {
        const auto& at = cells[info.addresses + i / 2].at[i % 2];
        if ((at.device.flags & PENSTOCK_DEVICE_USED) != 0)
            out.push_back({at.address, at.device.slot, at.device.address_id});
    }
    std::ranges::sort(out, [](const auto& a, const auto& b) { return less(a.address, b.address); });
    return out;
}

} // namespace penstock::datapath
