// Attaches a program to an interface so that it outlives the process: a pinned tcx link, first in line, where the
// kernel has it (6.6), a clsact filter elsewhere. Attaching again replaces the program in place; there is no moment
// without one.
#pragma once

#include "agent/datapath/programs.hpp"

#include <string>
#include <vector>

namespace penstock::datapath {

class Hooks {
public:
    // bpffs: our folder, as for Programs.
    static Result<Hooks> make(const std::filesystem::path& bpffs);

    Status attach(const Programs& programs, Hook hook, int ifindex);
    Status detach(Hook hook, int ifindex);
    // Is our program what the kernel runs there?
    [[nodiscard]] bool attached(const Programs& programs, Hook hook, int ifindex) const;
    // "tcx" or "clsact"
    [[nodiscard]] const char* mechanism() const { return tcx_ ? "tcx" : "clsact"; }
    // Takes away pins of interfaces that are gone.
    void forget_absent(const std::vector<int>& present);

private:
    [[nodiscard]] std::filesystem::path pin(Hook hook, int ifindex) const;
    Status attach_tcx(int program, Hook hook, int ifindex);
    static Status attach_clsact(int program, Hook hook, int ifindex);

    std::filesystem::path folder_;
    bool tcx_ = false;
};

} // namespace penstock::datapath
