// The root document in force: the configuration's, and behind it the chain of those that replaced it since, which is
// kept in the state folder. Every step is verified again whenever it is read.
#pragma once

#include "agent/base/result.hpp"
#include "agent/core/config.hpp"
#include "agent/store/sealed_folder.hpp"
#include "policy/bundle/root_chain.hpp"

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace penstock::core {

class RootStore {
public:
    RootStore(const Config& config, store::SealedFolder& folder) : anchor_(config.root), folder_(folder) {}

    // A newer document in the configuration than the last of the chain is taken. A chain that is damaged, or does not
    // begin where the configuration's root ends, is an error: what was replaced is not trusted again in silence.
    // ENOKEY: the state cannot be opened.
    [[nodiscard]] Result<policy::Root> load() const;
    // Keeps the version of what load() gives: from here on nothing older is taken, wherever it came from.
    Status remember() const;

    struct Taken {
        policy::Root root;
        std::uint64_t before;          // the version that was in force
        bool already_in_force = false; // nothing to do
    };
    // Catches up with a chain and stores it, unless this is a dry run. After a crash either the old root is in force or
    // the new one.
    [[nodiscard]] tl::expected<Taken, policy::Refused> take(std::string_view chain, policy::Time now,
                                                            bool dry_run) const;

private:
    struct Known {
        policy::Root root;
        policy::RootChain chain; // without the anchor; may be empty
    };
    [[nodiscard]] Result<Known> read() const;
    [[nodiscard]] Result<Known> read_files() const;

    std::filesystem::path anchor_;
    store::SealedFolder& folder_;
};

} // namespace penstock::core
