#include "agent/datapath/witness.hpp"

#include "agent/base/netns.hpp"
#include "agent/datapath/gate.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstring>
#include <linux/bpf.h>

namespace penstock::datapath {
namespace {

// The map `gate` of every version that ever ran since this bpffs was mounted, our own among them: its entries keep
// their places.
std::vector<TypedMap<std::uint32_t, std::uint32_t>> gates_of_all_versions(const std::filesystem::path& bpffs) {
    std::vector<TypedMap<std::uint32_t, std::uint32_t>> out;
    std::error_code error;
    for (const auto& folder : std::filesystem::directory_iterator(bpffs, error))
        if (folder.path().filename().string().starts_with("maps-"))
            if (Fd fd(bpf_obj_get((folder.path() / "gate").c_str())); fd)
                out.emplace_back("gate", std::move(fd));
    return out;
}

std::uint32_t program_of(int link) {
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    return bpf_obj_get_info_by_fd(link, &info, &size) == 0 ? info.prog_id : 0;
}

} // namespace

Result<Witness> Witness::make(const Programs& programs, const std::filesystem::path& bpffs) {
    Witness out;
    out.pin_ = bpffs / "witness";
    auto gate = programs.map_fd("gate");
    auto first = programs.map_fd("witness_first");
    auto counts = programs.map_fd("witness_counts");
    for (const auto* map : {&gate, &first, &counts})
        if (!*map)
            return tl::unexpected(map->error());
    out.gate_ = {"gate", std::move(*gate)};
    out.first_ = {"witness_first", std::move(*first)};
    out.counts_ = std::move(*counts);
    auto program = programs.witness_fd();
    if (program)
        out.program_ = std::move(*program);
    else
        out.absent_ = program.error().message();
    // An upgrade has maps of its own; what was seen before it still counts.
    for (const auto& gate : gates_of_all_versions(bpffs))
        if (gate.find(PENSTOCK_GATE_LATCH).value_or(0) != 0)
            if (auto ok = out.latch(); !ok)
                return tl::unexpected(ok.error());
    return out;
}

Status Witness::attach() {
    if (!link_)
        link_.reset(bpf_raw_tracepoint_open(nullptr, program_.get()));
    if (!link_)
        return fail_errno("cannot attach the witness");
    std::error_code error;
    std::filesystem::remove(pin_, error); // a predecessor's, which saw until now
    if (bpf_obj_pin(link_.get(), pin_.c_str()) != 0)
        return fail_errno("cannot pin " + pin_.string());
    return {};
}

bool Witness::attached() const {
    const Fd link(bpf_obj_get(pin_.c_str()));
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    return link && program_ && bpf_obj_get_info_by_fd(program_.get(), &info, &size) == 0 &&
           program_of(link.get()) == info.id;
}

Status Witness::detach() {
    link_.reset();
    std::error_code error;
    std::filesystem::remove(pin_, error);
    if (error)
        return fail_errno("cannot remove " + pin_.string(), error.value());
    return {};
}

Status Witness::watch() {
    const auto netns = own_netns();
    if (!netns)
        return tl::unexpected(netns.error());
    return gate_.put(PENSTOCK_GATE_WITNESSED_NETNS, *netns);
}

Status Witness::look_away() { return gate_.put(PENSTOCK_GATE_WITNESSED_NETNS, 0); }

bool Witness::watching() const {
    const auto netns = own_netns();
    return netns && gate_.find(PENSTOCK_GATE_WITNESSED_NETNS) == *netns;
}

bool Witness::latched() const { return gate_.find(PENSTOCK_GATE_LATCH).value_or(0) != 0; }

std::optional<Witness::Sighting> Witness::first() const {
    const auto found = first_.find(0);
    if (!latched() || !found || found->time_ns == 0)
        return std::nullopt;
    Sighting out{.ethertype = found->ethertype,
                 .proto = found->proto,
                 .ifindex = static_cast<int>(found->ifindex),
                 .forwarded = found->forwarded != 0};
    out.source = from_abi(found->source);
    out.destination = from_abi(found->destination);
    std::memcpy(out.mac.bytes.data(), found->mac, sizeof found->mac);
    return out;
}

Status Witness::latch() { return gate_.put(PENSTOCK_GATE_LATCH, 1); }

Status Witness::clear() {
    if (auto ok = first_.put(0, {}); !ok) // before the latch: what is seen from then on is not wiped
        return ok;
    if (auto ok = gate_.put(PENSTOCK_GATE_LATCH, 0); !ok)
        return ok;
    const auto own = map_id(gate_.fd());
    for (const auto& gate : gates_of_all_versions(pin_.parent_path()))
        if (map_id(gate.fd()) != own)
            if (auto ok = gate.put(PENSTOCK_GATE_LATCH, 0); !ok)
                return ok;
    return {};
}

Witness::Counts Witness::counts() const {
    const auto sum = [this](std::uint32_t kind) {
        std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
        std::uint64_t out = 0;
        if (bpf_map_lookup_elem(counts_.get(), &kind, per_cpu.data()) == 0)
            for (const auto one : per_cpu)
                out += one;
        return out;
    };
    return {.esp = sum(PENSTOCK_SEEN_ESP),
            .ike = sum(PENSTOCK_SEEN_IKE),
            .host = sum(PENSTOCK_SEEN_HOST),
            .clear = sum(PENSTOCK_SEEN_CLEAR)};
}

} // namespace penstock::datapath
