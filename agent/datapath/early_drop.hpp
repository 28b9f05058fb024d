// Frames of strangers, dropped in the driver by XDP. Saves work and stops nothing that layer 1 would not: whoever takes
// it away gains nothing.
#pragma once

#include "agent/datapath/programs.hpp"

#include <filesystem>

namespace penstock::datapath {

class EarlyDrop {
public:
    // bpffs: our folder, as for Programs. programs must live as long.
    EarlyDrop(const Programs& programs, const std::filesystem::path& bpffs);

    // This binary's program, in the driver, in place of any that we put there before; pinned. An error: the driver has
    // no XDP of its own, or somebody else's program stands there (EBUSY), which is left alone.
    [[nodiscard]] Status attach(int ifindex) const;
    // Whether this binary's program runs there.
    [[nodiscard]] bool attached(int ifindex) const;
    // Nothing to do is no error.
    [[nodiscard]] Status detach(int ifindex) const;

private:
    // Beside the links of Hooks, which forgets those of interfaces that are gone.
    [[nodiscard]] std::filesystem::path pin(int ifindex) const;

    int program_;
    std::filesystem::path folder_;
};

} // namespace penstock::datapath
