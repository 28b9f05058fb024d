// Layer 5 from the agent's side: puts the witness program where it sees every frame that leaves, reads what it saw, and
// opens its latch again when an operator says so.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/datapath/typed_map.hpp"
#include "bpf/penstock_abi.h"

#include <optional>
#include <string>

namespace penstock::datapath {

class Witness {
public:
    // bpffs: our folder, as for Programs. Nothing is attached yet.
    static Result<Witness> make(const Programs& programs, const std::filesystem::path& bpffs);

    // Why this kernel has no layer 5; empty if it has.
    [[nodiscard]] const std::string& absent() const { return absent_; }
    // Puts this binary's program in the place of any before it; pinned, so that it outlives the process.
    Status attach();
    [[nodiscard]] bool attached() const;
    Status detach();

    // From now on, in the network namespace of the caller. Kept in the kernel over a restart.
    Status watch();
    Status look_away();
    [[nodiscard]] bool watching() const;

    struct Sighting {
        IpAddress source, destination; // family 0: the frame had none
        MacAddress mac;                // source; zero on links without Ethernet headers
        std::uint16_t ethertype = 0;
        std::uint8_t proto = 0;
        int ifindex = 0;
        bool forwarded = false; // false: the gateway itself sent it
    };
    [[nodiscard]] bool latched() const;
    // The frame that closed the latch; nullopt also if only a predecessor knows it.
    [[nodiscard]] std::optional<Sighting> first() const;
    Status latch(); // for what was seen before the maps were made
    Status clear();

    struct Counts {
        std::uint64_t esp = 0, ike = 0, host = 0, clear = 0;
    };
    [[nodiscard]] Counts counts() const;

private:
    TypedMap<std::uint32_t, std::uint32_t> gate_;
    TypedMap<std::uint32_t, penstock_sighting> first_;
    Fd program_, counts_;
    Fd link_; // held: before Linux 6.10 a program can be attached once, so a pin that is lost is made again from this
    std::filesystem::path pin_;
    std::string absent_;
};

} // namespace penstock::datapath
