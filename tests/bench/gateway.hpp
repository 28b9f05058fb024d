// A gateway as penstockd makes it, in the network namespace of this thread: the programs of the build on its
// interfaces, and a policy that came as a signed bundle through the agent's own PolicyManager.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/worker.hpp"
#include "agent/core/config.hpp"
#include "agent/core/event_log.hpp"
#include "agent/core/policy_manager.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/store/sealed_folder.hpp"
#include "tests/bench/world.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

namespace penstock::bench {

class Gateway {
public:
    // Loads the programs; their pins are in folder/bpf, which is on a bpffs, what penstockd stores in folder/state.
    static Result<std::unique_ptr<Gateway>> make(const std::filesystem::path& folder, const std::string& root,
                                                 std::uint32_t devices);
    // lan0, wan0 and tun0 with their programs; a tunnel that is up.
    Status guard(bool ipv6);
    // Strangers on lan0 are dropped in the driver.
    Status drop_early();
    // Verifies, parses, compiles, stores and switches to one policy after the other, each as after `penstock push`,
    // until `next` gives none. Once in the life of a gateway.
    using Next = std::function<std::optional<std::string>()>;
    Status push_each(Next next);
    // Bytes of all maps, as the kernel accounts them.
    [[nodiscard]] Result<std::uint64_t> map_bytes() const;
    [[nodiscard]] std::uint64_t drops() const;

private:
    void push_next(const Next& next, Status& status);
    explicit Gateway(datapath::Programs programs) : programs_(std::move(programs)) {}

    core::Config config_;
    datapath::Programs programs_;
    std::unique_ptr<EventLoop> loop_;
    std::unique_ptr<Worker> worker_;
    core::EventLog events_;
    std::optional<datapath::PolicyStore> store_;
    std::optional<datapath::Counters> counters_;
    std::optional<store::SealedFolder> state_;
    std::unique_ptr<core::PolicyManager> policies_;
};

} // namespace penstock::bench
