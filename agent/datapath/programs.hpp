// The BPF programs and their maps, loaded. Maps are pinned and adopted from whoever pinned them before, so that
// counters, flows, SAs and the policy in force outlive the process; programs are always the ones of this binary.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"
#include "agent/datapath/outer_map.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

struct bpf_object;

namespace penstock::datapath {

enum class Hook { lan_ingress, lan_egress, uplink_egress, uplink_ingress }; // as enum penstock_hook
inline constexpr Hook kHooks[] = {Hook::lan_ingress, Hook::lan_egress, Hook::uplink_egress, Hook::uplink_ingress};
const char* hook_name(Hook hook);
bool is_ingress(Hook hook);
inline constexpr const char* kEarlyDrop = "early_drop"; // in XDP, before lan_ingress

// Values of our bits of skb->mark, made from a mask of two adjacent bits.
struct Marks {
    std::uint32_t mask = 0;
    std::uint32_t device = 0; // caused by a device, not yet encrypted
    std::uint32_t esp = 0;    // set by the kernel on what an SA encrypted
    std::uint32_t ike = 0;    // the sockets of penstock-ike

    static Result<Marks> from_mask(std::uint32_t mask);
};

struct ProgramOptions {
    std::filesystem::path bpffs; // our folder; made if absent. Must be on a bpffs.
    Marks marks;
    std::uint32_t device_capacity = 0;   // slots of device_state
    std::uint32_t flows_per_device = 64; // of a family: a power of two, PENSTOCK_MIN_FLOWS to PENSTOCK_MAX_FLOWS
};

class Programs {
public:
    static Result<Programs> load(const ProgramOptions& options);

    [[nodiscard]] int program_fd(Hook hook) const;
    [[nodiscard]] int early_drop_fd() const { return early_drop_.get(); }
    [[nodiscard]] std::uint32_t flows_per_device() const { return flows_per_device_; }
    // A new fd of the witness program; why there is none where the kernel cannot run it (layer 5 is then absent).
    [[nodiscard]] Result<Fd> witness_fd() const;
    // A new fd of the map with this name.
    [[nodiscard]] Result<Fd> map_fd(const std::string& name) const;
    [[nodiscard]] Result<OuterMap> outer_map(const std::string& name) const;

    // Maps whose pin is gone, or names another map. An error: the folder is no longer on a bpffs.
    [[nodiscard]] Result<std::vector<std::string>> lost_pins() const;
    Status pin_map(const std::string& name) const;
    [[nodiscard]] std::vector<std::string> map_names() const;

private:
    Status keep(bpf_object& object);

    std::filesystem::path map_folder_;
    std::map<Hook, Fd> programs_;
    Fd early_drop_;
    Fd witness_;
    std::string no_witness_;
    std::map<std::string, Fd> maps_;
    std::uint32_t flows_per_device_ = 0;
};

} // namespace penstock::datapath
