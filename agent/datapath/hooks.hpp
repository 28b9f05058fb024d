// Attaches a program to an interface so that it outlives the process: a pinned tcx link where the kernel has it (6.6),
// a clsact filter elsewhere; first in line in either, because whoever stands before may pass a packet that we never
// see. Attaching again replaces the program in place; there is no moment without one.
#pragma once

#include "agent/datapath/programs.hpp"

#include <map>
#include <string>
#include <vector>

namespace penstock::datapath {

class Hooks {
public:
    // bpffs: our folder, as for Programs.
    static Result<Hooks> make(const std::filesystem::path& bpffs);

    // What the kernel has on a hook, as far as we can ask it here.
    enum class State {
        first,    // our program, before all others
        behind,   // our program, but somebody else's runs before it
        unpinned, // our program, but it would end with this process
        absent    // not our program
    };
    [[nodiscard]] State state(const Programs& programs, Hook hook, int ifindex) const;
    Status attach(const Programs& programs, Hook hook, int ifindex);
    // Puts our program, attached already, before all others. What comes meanwhile is dropped.
    Status move_first(const Programs& programs, Hook hook, int ifindex);
    Status detach(Hook hook, int ifindex);
    [[nodiscard]] bool uses_tcx() const { return tcx_; }
    // "tcx" or "clsact"
    [[nodiscard]] const char* mechanism() const { return tcx_ ? "tcx" : "clsact"; }
    // Whether a clsact filter is one of ours: of clsact, state() cannot tell who is first; agent/net can.
    [[nodiscard]] static bool is_our_filter(std::uint32_t priority, std::uint32_t handle);
    // Takes away pins of interfaces that are gone.
    void forget_absent(const std::vector<int>& present);

private:
    [[nodiscard]] std::string pin_name(Hook hook, int ifindex) const;
    [[nodiscard]] Fd pinned_link(Hook hook, int ifindex) const;
    Status attach_tcx(int program, Hook hook, int ifindex);
    Status pin_tcx(Fd link, Hook hook, int ifindex);
    Status move_first_tcx(int program, Hook hook, int ifindex);
    [[nodiscard]] State state_tcx(std::uint32_t program, Hook hook, int ifindex) const;
    static Status attach_clsact(int program, Hook hook, int ifindex);

    std::filesystem::path folder_;
    std::map<std::string, Fd> held_; // by pin: a pin that is lost takes its link along unless somebody has it open
    bool tcx_ = false;
};

} // namespace penstock::datapath
