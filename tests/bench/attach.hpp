// The benchmarks' own programs (generator.bpf.c) and where they are attached.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"
#include "tests/bench/world.h"

#include <filesystem>
#include <memory>
#include <string>

struct bench_generator;

namespace penstock::bench {

// Enters a network namespace by its name; the thread stays there.
Status enter_namespace(const std::string& name);
Result<int> ifindex_of(const std::string& interface); // in the namespace of this thread

// A program on a hook of tc: a tcx link where the kernel has it, a clsact filter elsewhere; before all that are there.
// Ends with the object unless it is kept.
class Attachment {
public:
    static Result<Attachment> make(int program, int ifindex, bool ingress);
    Attachment(Attachment&& other) noexcept { *this = std::move(other); }
    Attachment& operator=(Attachment&& other) noexcept;
    ~Attachment();
    Status keep(const std::filesystem::path& pin); // until the interface is gone

private:
    Attachment() = default;
    Fd link_;
    int ifindex_ = 0; // of a clsact filter to be taken away
    bool ingress_ = false;
};

class Generator {
public:
    static Result<Generator> load();
    [[nodiscard]] int program(const std::string& name) const;
    // Shared with the programs; written between two runs.
    [[nodiscard]] bench_settings& settings() const;
    [[nodiscard]] std::uint64_t delivered() const;
    [[nodiscard]] std::uint64_t returned() const;
    void set_to_peer(bool to_peer) const;
    // Sends this many frames out of the interface of the settings, from the namespace of this thread.
    Status send(std::uint32_t packets) const;

private:
    struct Free {
        void operator()(bench_generator* skeleton) const;
    };
    std::unique_ptr<bench_generator, Free> skeleton_;
};

} // namespace penstock::bench
