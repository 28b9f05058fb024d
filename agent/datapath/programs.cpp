#include "agent/datapath/programs.hpp"

#include "agent/datapath/typed_map.hpp"
#include "bpf/penstock_abi.h"
#include "penstock.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <fcntl.h>
#include <linux/magic.h>
#include <memory>
#include <sstream>
#include <sys/vfs.h>
#include <unistd.h>

namespace penstock::datapath {
namespace {

struct SkeletonDeleter {
    void operator()(penstock_bpf* skeleton) const { penstock_bpf__destroy(skeleton); }
};

// The kernel's own words for the error: libbpf's last warning or, where the verifier refused a program, its reason.
thread_local std::string last_warning, verifier_reason;

// The last line of the verifier's log that is neither a figure nor libbpf's frame around it.
std::string reason_in(const std::string& log) {
    std::istringstream lines(log);
    std::string line, out;
    while (std::getline(lines, line))
        if (!line.empty() && !line.starts_with("processed ") && !line.starts_with("verification time ") &&
            !line.starts_with("stack depth ") && !line.starts_with("-- END "))
            out = line;
    return out;
}

int keep_warning(libbpf_print_level level, const char* format, va_list args) {
    if (level != LIBBPF_WARN)
        return 0;
    va_list again;
    va_copy(again, args);
    std::string text(static_cast<std::size_t>(std::max(0, vsnprintf(nullptr, 0, format, again))), '\0');
    va_end(again);
    vsnprintf(text.data(), text.size() + 1, format, args);
    if (text.find("BEGIN PROG LOAD LOG") != text.npos)
        verifier_reason = text.substr(0, text.find(':')) + ": " + reason_in(text);
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    last_warning = text;
    return 0;
}

// "maps-3": a layout of its own per ABI version, so that an upgrade never reads the old one's maps.
std::filesystem::path map_folder(const std::filesystem::path& bpffs) {
    return bpffs / ("maps-" + std::to_string(PENSTOCK_ABI_VERSION));
}

bool is_own_map(const bpf_map* map) {
    // .rodata and friends belong to the program, not to the state.
    return bpf_map__is_internal(map) == 0;
}

// libbpf adopts a pin only if type, sizes and flags agree. A capacity that the operator changed does not: the old map
// goes, with its counters. True if it went because its values have another size.
bool drop_pin_of_other_size(const std::filesystem::path& pin, const bpf_map* map) {
    const Fd fd(bpf_obj_get(pin.c_str()));
    if (!fd)
        return false;
    std::error_code ignored; // the load that follows says so
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0)
        return false;
    const bool other_values = info.value_size != bpf_map__value_size(map);
    if (other_values || info.max_entries != bpf_map__max_entries(map))
        std::filesystem::remove(pin, ignored);
    return other_values;
}

void set_sizes(penstock_bpf& skeleton, const ProgramOptions& options) {
    const auto flows = options.flows_per_device;
    skeleton.rodata->flow_capacity = flows;
    bpf_map__set_max_entries(skeleton.maps.device_state, options.device_capacity);
    bpf_map__set_value_size(skeleton.maps.device_state,
                            sizeof(penstock_device_state) + flows * (1 + sizeof(penstock_flow4)));
}

// What flows_ipv6 holds. Made by hand: libbpf 1.5 has no way to set the sizes of an inner map that it makes itself.
Result<Fd> make_ipv6_flows(std::uint32_t flows) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE);
    Fd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "flows_ipv6", sizeof(std::uint32_t),
                         sizeof(penstock_flows6) + flows * (1 + sizeof(penstock_flow6)), 1, &options));
    if (!fd)
        return fail_errno("the kernel refuses memory for the map flows_ipv6");
    return fd;
}

Result<Fd> duplicate(int fd, const std::string& what) {
    Fd out(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!out)
        return fail_errno("cannot duplicate the descriptor of " + what);
    return out;
}

Status check_bpffs(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    struct statfs fs{};
    if (statfs(folder.c_str(), &fs) != 0)
        return fail_errno("cannot use " + folder.string());
    if (static_cast<unsigned long>(fs.f_type) != BPF_FS_MAGIC)
        return fail(folder.string() + " is not on a BPF file system; mount one: mount -t bpf bpf /sys/fs/bpf");
    return {};
}

// What a map of maps holds cannot be opened once its pin is gone (OuterMap): then all maps are made anew, as for a new
// layout. Those before stay aside, for a latch in them still counts (Witness).
Status leave_torn_maps(const std::filesystem::path& folder) {
    const auto torn = [&](const char* name) {
        Fd fd(bpf_obj_get((folder / name).c_str()));
        return fd && !OuterMap(std::move(fd), folder, name).is_whole();
    };
    if (!torn("policy") && !torn("flows_ipv6"))
        return {};
    const std::filesystem::path aside = folder.string() + "-torn";
    std::error_code error;
    std::filesystem::remove_all(aside, error);
    std::filesystem::rename(folder, aside, error);
    if (error)
        return fail_errno("cannot put " + folder.string() + " aside, whose maps have lost pins", error.value());
    return {};
}

using Skeleton = std::unique_ptr<penstock_bpf, SkeletonDeleter>;

Result<Skeleton> open_and_load(const ProgramOptions& options, bool witness) {
    Skeleton skeleton(penstock_bpf__open());
    if (!skeleton)
        return fail_errno("cannot open the BPF programs");
    skeleton->rodata->mark_mask = options.marks.mask;
    skeleton->rodata->mark_device = options.marks.device;
    skeleton->rodata->mark_esp = options.marks.esp;
    skeleton->rodata->mark_ike = options.marks.ike;
    set_sizes(*skeleton, options);
    const auto ipv6_flows = make_ipv6_flows(options.flows_per_device);
    if (!ipv6_flows)
        return tl::unexpected(ipv6_flows.error());
    if (const int error = bpf_map__set_inner_map_fd(skeleton->maps.flows_ipv6, ipv6_flows->get()); error != 0)
        return fail_errno("cannot say what flows_ipv6 holds", -error);
    bpf_program__set_autoload(skeleton->progs.witness, witness);

    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton->obj) {
        if (!is_own_map(map))
            continue;
        const auto pin = map_folder(options.bpffs) / bpf_map__name(map);
        if (drop_pin_of_other_size(pin, map) && map == skeleton->maps.device_state) {
            std::error_code ignored; // its inner maps hold as many flows a device as device_state did
            std::filesystem::remove(map_folder(options.bpffs) / "flows_ipv6", ignored);
        }
        bpf_map__set_pin_path(map, pin.c_str());
    }
    last_warning.clear();
    verifier_reason.clear();
    const int error = penstock_bpf__load(skeleton.get());
    if (error == -ENOMEM)
        return fail("no memory for the tables of " + std::to_string(options.device_capacity) +
                        " devices; lower [policy] devices, or raise the memory limit of penstockd (MemoryMax=)",
                    ENOMEM);
    const auto& why = verifier_reason.empty() ? last_warning : verifier_reason;
    if (error != 0)
        return fail_errno("the kernel refuses the BPF programs" + (why.empty() ? "" : " (" + why + ")"), -error);
    return skeleton;
}

} // namespace

const char* hook_name(Hook hook) {
    switch (hook) {
    case Hook::lan_ingress:
        return "lan_ingress";
    case Hook::lan_egress:
        return "lan_egress";
    case Hook::uplink_egress:
        return "uplink_egress";
    case Hook::uplink_ingress:
        return "uplink_ingress";
    }
    return "";
}

bool is_ingress(Hook hook) { return hook == Hook::lan_ingress || hook == Hook::uplink_ingress; }

Result<Marks> Marks::from_mask(std::uint32_t mask) {
    const std::uint32_t low = mask & (~mask + 1);
    if (std::popcount(mask) != 2 || mask != (low | low << 1))
        return fail("the mark mask must be two adjacent bits, for example 0x30000000");
    return Marks{.mask = mask, .device = low, .esp = low << 1, .ike = mask};
}

Result<Programs> Programs::load(const ProgramOptions& options) {
    if (!std::has_single_bit(options.flows_per_device) || options.flows_per_device < PENSTOCK_MIN_FLOWS ||
        options.flows_per_device > PENSTOCK_MAX_FLOWS)
        return fail("flows of a device must be a power of two from " + std::to_string(PENSTOCK_MIN_FLOWS) + " to " +
                    std::to_string(PENSTOCK_MAX_FLOWS));
    if (auto ok = leave_torn_maps(map_folder(options.bpffs)); !ok)
        return tl::unexpected(ok.error());
    if (auto ok = check_bpffs(map_folder(options.bpffs)); !ok)
        return tl::unexpected(ok.error());
    libbpf_set_print(keep_warning);
    Programs out;
    out.flows_per_device_ = options.flows_per_device;
    out.map_folder_ = map_folder(options.bpffs);
    if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
        out.no_witness_ = "this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)";
    auto loaded = open_and_load(options, out.no_witness_.empty());
    if (!loaded && loaded.error().code() != ENOMEM && out.no_witness_.empty()) {
        // The four layers that stop frames do not wait for the one that looks.
        out.no_witness_ = loaded.error().message();
        loaded = open_and_load(options, false);
    }
    if (!loaded)
        return tl::unexpected(loaded.error());
    auto& skeleton = *loaded;
    if (auto ok = out.keep(*skeleton->obj); !ok)
        return tl::unexpected(ok.error());
    return out;
}

// The skeleton closes its own when it goes.
Status Programs::keep(bpf_object& object) {
    const auto keep_program = [&](const char* name, Fd& where) -> Status {
        const auto* program = bpf_object__find_program_by_name(&object, name);
        if (program == nullptr)
            return fail(std::string("no BPF program is called ") + name);
        auto fd = duplicate(bpf_program__fd(program), std::string("BPF program ") + name);
        if (!fd)
            return tl::unexpected(fd.error());
        where = std::move(*fd);
        return {};
    };
    if (no_witness_.empty())
        if (auto ok = keep_program("witness", witness_); !ok)
            return ok;
    if (auto ok = keep_program(kEarlyDrop, early_drop_); !ok)
        return ok;
    for (const auto hook : kHooks)
        if (auto ok = keep_program(hook_name(hook), programs_[hook]); !ok)
            return ok;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, &object) {
        if (!is_own_map(map))
            continue;
        auto fd = duplicate(bpf_map__fd(map), std::string("BPF map ") + bpf_map__name(map));
        if (!fd)
            return tl::unexpected(fd.error());
        maps_[bpf_map__name(map)] = std::move(*fd);
    }
    return {};
}

Result<Fd> Programs::witness_fd() const {
    if (!witness_)
        return fail(no_witness_);
    return duplicate(witness_.get(), "the witness program");
}

int Programs::program_fd(Hook hook) const { return programs_.at(hook).get(); }

Result<Fd> Programs::map_fd(const std::string& name) const {
    const auto found = maps_.find(name);
    if (found == maps_.end())
        return fail("no BPF map is called " + name);
    return duplicate(found->second.get(), "BPF map " + name);
}

Result<OuterMap> Programs::outer_map(const std::string& name) const {
    auto fd = map_fd(name);
    if (!fd)
        return tl::unexpected(fd.error());
    return OuterMap(std::move(*fd), map_folder_, name);
}

std::vector<std::string> Programs::map_names() const {
    std::vector<std::string> out;
    out.reserve(maps_.size());
    for (const auto& [name, fd] : maps_)
        out.push_back(name);
    return out;
}

Result<std::vector<std::string>> Programs::lost_pins() const {
    if (auto ok = check_bpffs(map_folder_); !ok)
        return tl::unexpected(ok.error());
    std::vector<std::string> out;
    for (const auto& [name, fd] : maps_) {
        const Fd pinned(bpf_obj_get((map_folder_ / name).c_str()));
        if (!pinned || map_id(pinned.get()) != map_id(fd.get()))
            out.push_back(name);
    }
    return out;
}

Status Programs::pin_map(const std::string& name) const {
    const auto path = map_folder_ / name;
    std::error_code ignored; // pinning says what is wrong
    std::filesystem::remove(path, ignored);
    if (bpf_obj_pin(maps_.at(name).get(), path.c_str()) != 0)
        return fail_errno("cannot pin " + path.string());
    return {};
}

} // namespace penstock::datapath
