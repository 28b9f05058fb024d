// Root documents that replaced one another (TUF 5.3): envelopes separated by a newline, oldest first. Whoever trusts
// one of them catches up with the last, step by step. A single root document is a chain of one.
#pragma once

#include "policy/bundle/root.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::policy {

struct RootChain {
    std::vector<Envelope> envelopes; // at least one

    // Only what each envelope is, not whether it is signed.
    static tl::expected<RootChain, Refused> parse(std::string_view bytes);
    [[nodiscard]] std::string dump() const;
};

// Whether these bytes claim to be one. Reads no more than the first envelope of at most kMaxRootBytes.
bool is_root_chain(std::string_view bytes);

// One step: the next version of the same fleet, signed by the root threshold of `trusted` and by its own.
tl::expected<Root, Refused> replace_root(const Root& trusted, const Envelope& next);

struct CaughtUp {
    Root root;                   // the last one of the chain
    std::vector<Envelope> steps; // those that were newer than what was trusted
};

// now: the last root must not have expired by then; those before it may have (TUF 5.3.10). None: expiry is not judged.
tl::expected<CaughtUp, Refused> catch_up(const Root& trusted, const RootChain& chain, std::optional<Time> now);

} // namespace penstock::policy
