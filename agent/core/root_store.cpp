#include "agent/core/root_store.hpp"

#include "agent/base/file.hpp"
#include "agent/core/state.hpp"

#include <cerrno>

namespace penstock::core {

using policy::Refusal;
using policy::RootChain;

// The chain, if there is one; and not older than the last that was in force, whatever became of the files.
Result<RootStore::Known> RootStore::read() const {
    auto known = read_files();
    if (!known)
        return known;
    const auto last = folder_.recall(kLastRoot);
    if (!last)
        return tl::unexpected(last.error());
    if (last->is_null() || known->root.version >= last->get<std::uint64_t>())
        return known;
    return fail("root version " + last->dump() + " was in force, and " + folder_.path(kRootChain).string() + " and " +
                anchor_.string() + " reach version " + std::to_string(known->root.version) +
                " only; put the chain back, or install the newest root document as " + anchor_.string());
}

Result<RootStore::Known> RootStore::read_files() const {
    const auto anchor = read_guarded(anchor_, policy::kMaxRootChainBytes.value);
    if (!anchor)
        return tl::unexpected(anchor.error());
    auto root = policy::load_root(*anchor);
    if (!root)
        return fail(anchor_.string(), std::move(root.error()));
    const auto bytes = folder_.read(kRootChain, policy::kMaxRootChainBytes.value);
    if (!bytes && bytes.error().code() == ENOENT)
        return Known{std::move(*root), {}};
    if (!bytes)
        return tl::unexpected(bytes.error());
    auto chain = RootChain::parse(*bytes);
    if (!chain)
        return fail(folder_.path(kRootChain).string(), chain.error().error());
    auto last = policy::catch_up(*root, *chain, std::nullopt);
    if (!last && last.error().refusal == Refusal::root_rollback)
        return Known{std::move(*root), {}}; // the configuration's is newer than all of it
    if (!last)
        return fail(folder_.path(kRootChain).string(), last.error().error());
    return Known{std::move(last->root), std::move(*chain)};
}

Result<policy::Root> RootStore::load() const {
    auto known = read();
    if (!known)
        return tl::unexpected(known.error());
    return std::move(known->root);
}

Status RootStore::remember() const {
    const auto known = read();
    if (!known)
        return tl::unexpected(known.error());
    const auto last = folder_.recall(kLastRoot);
    if (last && *last == known->root.version)
        return {};
    return folder_.keep(kLastRoot, known->root.version);
}

tl::expected<RootStore::Taken, policy::Refused> RootStore::take(std::string_view bytes, policy::Time now,
                                                                bool dry_run) const {
    auto known = read();
    if (!known)
        return policy::refuse(Refusal::gateway_unable, known.error().message());
    const auto chain = RootChain::parse(bytes);
    if (!chain)
        return tl::unexpected(chain.error());
    auto last = policy::catch_up(known->root, *chain, now);
    if (!last)
        return tl::unexpected(last.error());
    Taken taken{.root = std::move(last->root), .before = known->root.version, .already_in_force = last->steps.empty()};
    if (dry_run || taken.already_in_force)
        return taken;
    auto& kept = known->chain.envelopes;
    kept.insert(kept.end(), last->steps.begin(), last->steps.end());
    auto content = known->chain.dump();
    if (content.size() > policy::kMaxRootChainBytes.value)
        return policy::refuse(Refusal::gateway_unable,
                              "with these, the root documents of this gateway are more than the " +
                                  policy::describe(policy::kMaxRootChainBytes) + "; install the newest as " +
                                  anchor_.string());
    if (auto kept = folder_.commit({{{kRootChain, std::move(content)}}, {{kLastRoot, taken.root.version}}}); !kept)
        return policy::refuse(Refusal::gateway_unable, kept.error().message());
    return taken;
}

} // namespace penstock::core
