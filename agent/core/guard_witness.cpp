// Layer 5 of the guard: the witness program and what it saw.
#include "agent/base/file.hpp"
#include "agent/core/guard.hpp"

#include <cerrno>
#include <cstdio>

namespace penstock::core {
namespace {

// Longer than a frame waits in any queue.
constexpr auto kUnderWay = std::chrono::seconds(1);

constexpr std::size_t kMaxSighting = 4096; // bytes of its file

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
    if (latched)
        keep_sighting();
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
    const auto seen = sighting();
    if (seen == kept_sighting_)
        return;
    if (const auto kept = write_file_atomically(sighting_file(), seen); kept)
        kept_sighting_ = seen;
    else if (!latch_told_)
        events_.add(log::Level::error, "witness_problem",
                    {{"why", "what it saw would be forgotten by a reboot: " + kept.error().message()}});
}

// Holds what the witness saw, until an operator clears it: a reboot takes the maps away.
std::filesystem::path Guard::sighting_file() const { return config_.state / "witness"; }

Status Guard::remember_sighting() {
    auto kept = read_file(sighting_file(), kMaxSighting);
    if (!kept && kept.error().code() == ENOENT)
        return {};
    // Whatever is in the file: that it is there is what counts.
    kept_sighting_ = kept ? std::move(*kept) : "";
    return witness_.latch();
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
    std::error_code error;
    std::filesystem::remove(sighting_file(), error);
    if (error)
        return fail_errno("cannot remove " + sighting_file().string(), error.value());
    kept_sighting_.clear();
    latch_told_ = false; // what it sees from here on is told, and kept, anew
    return witness_.clear();
}

} // namespace penstock::core
