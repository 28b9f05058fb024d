// Layer 5 of the guard: the witness program and what it saw.
#include "agent/base/file.hpp"
#include "agent/core/guard.hpp"
#include "agent/core/state.hpp"

#include <cerrno>
#include <cstdio>

namespace penstock::core {
namespace {

// Longer than a frame waits in any queue.
constexpr auto kUnderWay = std::chrono::seconds(1);

} // namespace

void Guard::attach_witness() {
    const auto done = witness_.attach();
    const auto problem = done ? "" : done.error().message();
    if (done)
        events_.add(log::Level::info, "witness_attached", {});
    else if (problem != witness_problem_)
        events_.add(log::Level::error, "witness_problem", {{"why", problem}});
    witness_problem_ = problem;
}

// It looks once the layers have stood for a while: what was on its way before them is no leak of theirs. Its own
// absence is said and stops nothing; what it saw does.
Status Guard::put_up_witness(bool layers_stand) {
    if (witness_.absent().empty())
        if (auto ok = look_out(layers_stand); !ok)
            return ok;
    const bool latched = witness_.latched(); // also by a predecessor, where this kernel has no witness
    if (latched && !latch_told_)
        events_.add(log::Level::error, "frame_in_clear", {{"frame", sighting()}});
    latch_told_ = latched;
    if (latched)
        return fail("the witness saw a frame of a device in clear (" + sighting() +
                    "); find out how it came there, then: penstock guard clear-witness");
    return {};
}

Status Guard::look_out(bool layers_stand) {
    if (!witness_.attached())
        attach_witness();
    const auto now = std::chrono::steady_clock::now();
    if (!layers_stand)
        stood_since_.reset();
    else if (!stood_since_)
        stood_since_ = now;
    if (!witness_.watching() && stood_since_ && now - *stood_since_ >= kUnderWay)
        return witness_.watch();
    return {};
}

// Tried until it is on disk, told once.
void Guard::keep_sighting() {
    if (const auto kept = folder_.recall(kSeen); kept && kept->is_string() && !witness_.first())
        kept_sighting_ = kept->get<std::string>(); // of before the last boot: nothing is known better now
    const auto seen = sighting();
    if (seen == kept_sighting_)
        return;
    std::error_code error;
    Status kept;
    if (const auto file = folder_.path(kSighting); !std::filesystem::exists(file, error))
        kept = write_file_atomically(file, ""); // that it is there is what counts
    keep_first(kept, folder_.keep(kSeen, seen));
    if (kept)
        kept_sighting_ = seen;
    else if (!latch_told_)
        events_.add(log::Level::error, "witness_problem",
                    {{"why", "what it saw may be forgotten by a reboot: " + kept.error().message()}});
}

Status Guard::remember_sighting() {
    std::error_code error;
    const bool there = std::filesystem::exists(folder_.path(kSighting), error) || error;
    const auto seen = folder_.recall(kSeen); // before boot is done there may be no key
    if (seen && seen->is_string())
        kept_sighting_ = seen->get<std::string>();
    return there || !kept_sighting_.empty() ? witness_.latch() : Status{};
}

std::string Guard::sighting() const {
    const auto first = witness_.first();
    if (!first)
        return !witness_.latched() ? "" : kept_sighting_.empty() ? "nothing more is known of it" : kept_sighting_;
    const auto* link = network_.find(first->ifindex);
    char ethertype[8];
    std::snprintf(ethertype, sizeof ethertype, "0x%04x", first->ethertype);
    return first->source.str() + " to " + first->destination.str() + ", ethertype " + ethertype + ", protocol " +
           std::to_string(first->proto) + ", on " +
           (link != nullptr ? link->name : "interface " + std::to_string(first->ifindex)) +
           (first->forwarded ? ", forwarded" : ", sent by the gateway");
}

Status Guard::clear_witness() {
    const auto seen = folder_.recall(kSeen);
    if (!seen) // it would close the gate again once the ledger can be opened
        return fail("what the witness saw is in the ledger, which cannot be opened", Error(seen.error()));
    if (!seen->is_null())
        if (auto ok = folder_.keep(kSeen, nullptr); !ok)
            return ok;
    std::error_code error;
    const auto file = folder_.path(kSighting);
    std::filesystem::remove(file, error);
    if (error)
        return fail_errno("cannot remove " + file.string(), error.value());
    kept_sighting_.clear();
    latch_told_ = false; // what it sees from here on is told, and kept, anew
    return witness_.clear();
}

} // namespace penstock::core
