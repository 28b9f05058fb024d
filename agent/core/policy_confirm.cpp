// What PolicyManager does with a push that waits to be found well (commit-confirm). The ledger knows of it from the
// very change with which the policy is stored: whenever the machine stops, the next start finds it.
//
// The last version stays the higher one. What comes back is the one policy that the ledger names as in force before
// this push, verified again, with its signatures and its dates.
#include "agent/core/policy_manager.hpp"
#include "agent/core/state.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace penstock::core {
namespace {

std::string version(const PolicyId& id) { return "version " + std::to_string(id.version); }

nlohmann::json about(const PendingPush& push, const std::string& why) {
    nlohmann::json out = {{"version", push.pushed.version}, {"before", push.before.version}, {"why", why}};
    push.by.sign(out);
    return out;
}

// Another push changed the ledger, and did not get into force itself.
Status overtaken(const PendingPush& push) {
    return fail("another push came before " + version(push.pushed) + " was found well; look: penstock status");
}

} // namespace

// From the loop to the worker and back.
struct PolicyManager::Return {
    PendingPush push;
    std::string why;
    bool decided_already = false; // another push came first
    Verified result = tl::unexpected(policy::Refused{});
    Status in_force, kept;
};

Result<std::optional<PendingPush>> PolicyManager::read_pending() const {
    const auto entry = folder_.recall(kPendingPush);
    if (!entry)
        return tl::unexpected(entry.error());
    return PendingPush::read(*entry);
}

bool PolicyManager::still_waits(const PendingPush& push) const {
    const auto now = read_pending();
    return now && *now && (*now)->pushed == push.pushed;
}

bool PolicyManager::pending_is_over() const {
    return waiting_ && std::chrono::steady_clock::now() >= waiting_->deadline;
}

PolicyManager::Verified PolicyManager::verify_before(const PendingPush& push, std::string& bundle) const {
    auto read = folder_.read(kPolicyBefore, policy::kMaxEnvelopeBytes.value);
    if (!read)
        return tl::unexpected(policy::Refused{policy::Refusal::gateway_unable, read.error().message()});
    bundle = std::move(*read);
    return verify(bundle, {push.before.version, push.before.digest, true}, false);
}

Status PolicyManager::keep_return(const PendingPush& push, std::string bundle, const std::string& why) const {
    const WentBack back{.to = push.before, .from = push.pushed, .why = why};
    return folder_.commit({{{kPolicyBundle, std::move(bundle)}, {kPolicyBefore, ""}},
                           {{kPendingPush, nullptr}, {kWentBack, back.to_json()}}});
}

Status PolicyManager::keep_confirmed() const {
    return folder_.commit({{{kPolicyBefore, ""}}, {{kPendingPush, nullptr}}});
}

void PolicyManager::end_wait(const PushAnswer& answer) {
    const auto done = std::move(waiting_->done);
    waiting_.reset();
    if (done)
        done(answer);
}

// What cannot be kept is not confirmed: the next start would not know of it.
void PolicyManager::confirm() {
    waiting_->deciding = true;
    auto job = std::make_shared<Return>(Return{.push = waiting_->push});
    const auto work = [this, job] {
        job->decided_already = !still_waits(job->push);
        if (!job->decided_already)
            job->kept = keep_confirmed();
    };
    worker_.post(work, [this, job] {
        if (!waiting_ || waiting_->push.pushed != job->push.pushed)
            return;
        if (job->decided_already)
            return end_wait({.status = overtaken(job->push)});
        if (!job->kept) {
            waiting_->deciding = false;
            if (!std::exchange(waiting_->told, true))
                events_.add(log::Level::warning, "state_problem", {{"why", job->kept.error().message()}});
            return;
        }
        nlohmann::json fields = {{"version", job->push.pushed.version}};
        job->push.by.sign(fields);
        events_.add(log::Level::info, "policy_confirmed", std::move(fields));
        end_wait({.message = version(job->push.pushed) + " stays in force: the gateway is well with it"});
    });
}

// On disk first. If that fails, the ledger still has the push that waits, and the next start goes back again.
void PolicyManager::go_back(const std::string& why) {
    waiting_->deciding = true;
    auto job = std::make_shared<Return>(Return{.push = waiting_->push, .why = why});
    const auto work = [this, job] {
        job->decided_already = !still_waits(job->push);
        if (job->decided_already)
            return;
        std::string bundle;
        job->result = verify_before(job->push, bundle);
        if (!job->result) {
            job->kept = keep_confirmed();
            return;
        }
        job->kept = keep_return(job->push, std::move(bundle), job->why);
        job->in_force = put_in_force(**job->result, nullptr);
    };
    worker_.post(work, [this, job] {
        if (!waiting_ || waiting_->push.pushed != job->push.pushed)
            return;
        if (job->decided_already)
            return end_wait({.status = overtaken(job->push)});
        returned(*job);
    });
}

void PolicyManager::returned(const Return& job) {
    if (!job.kept)
        events_.add(log::Level::warning, "state_problem", {{"why", job.kept.error().message()}});
    const auto said = version(job.push.pushed) + " is not well (" + job.why + ")";
    if (!job.result || !job.in_force) {
        const auto why = job.result ? job.in_force.error().message() : job.result.error().message;
        auto fields = about(job.push, job.why);
        fields["cannot_go_back"] = why;
        fields["mend"] = "push a newer bundle";
        events_.add(log::Level::error, "policy_not_reverted", std::move(fields));
        return end_wait({.status = fail(said + ", and " + version(job.push.before) + " cannot come back: " + why +
                                        "; " + version(job.push.pushed) + " stays in force")});
    }
    events_.add(log::Level::error, "policy_reverted", about(job.push, job.why));
    went_back_ = WentBack{.to = job.push.before, .from = job.push.pushed, .why = job.why};
    take(*job.result, nullptr);
    end_wait({.status = fail(said + "; " + version(job.push.before) + " is in force again"), .went_back = true});
}

// The time of a penstockd before this one is over: nobody saw that the gateway was well.
std::optional<std::string> PolicyManager::return_overdue() {
    if (const auto back = WentBack::read(folder_.recall(kWentBack).value_or(nullptr)); back)
        went_back_ = *back;
    const auto pending = read_pending();
    if (!pending || !*pending || time_.now() < (*pending)->until)
        return std::nullopt;
    const auto& push = **pending;
    const std::string why = "penstockd was not there to see it well in time";
    std::string bundle;
    const auto before = verify_before(push, bundle);
    if (!before) {
        auto fields = about(push, why);
        fields["cannot_go_back"] = before.error().message;
        fields["mend"] = "push a newer bundle";
        events_.add(log::Level::error, "policy_not_reverted", std::move(fields));
    }
    if (const auto ok = before ? keep_return(push, bundle, why) : keep_confirmed(); !ok)
        events_.add(log::Level::warning, "state_problem", {{"why", ok.error().message()}});
    if (!before)
        return std::nullopt;
    events_.add(log::Level::error, "policy_reverted", about(push, why));
    went_back_ = WentBack{.to = push.before, .from = push.pushed, .why = why};
    return bundle;
}

// Never for longer than it was asked for, whatever the clock says.
void PolicyManager::resume_wait() {
    auto pending = read_pending();
    if (!pending || !*pending || !in_force_ || in_force_->verified->digest != (*pending)->pushed.digest)
        return;
    const auto left =
        std::clamp<std::chrono::seconds>((*pending)->until - time_.now(), std::chrono::seconds(0), (*pending)->wait);
    waiting_ =
        Waiting{.push = std::move(**pending), .deadline = std::chrono::steady_clock::now() + left, .done = nullptr};
}

// On the worker. Where another push waits already, this one goes back to what that one would have gone back to.
Result<PendingPush> PolicyManager::prepare_wait(const policy::VerifiedPolicy& pushed, const PushOptions& options,
                                                store::SealedFolder::Change& change) const {
    const auto waits = read_pending();
    if (!waits)
        return tl::unexpected(waits.error());
    if (digest_in_tables_.empty())
        return fail("no policy is in force that one could go back to; push without --wait-healthy");
    for (const auto& probe : options.probes)
        if (pushed.policy.find_device(probe) == nullptr)
            return fail("--probe: " + pushed.policy.title() + " has no device " + policy::quote(probe));
    PendingPush out{.pushed = {pushed.policy.version, pushed.digest},
                    .before = {last_in_tables_->policy.version, last_in_tables_->digest},
                    .until = time_.now() + options.wait,
                    .wait = options.wait,
                    .probes = options.probes,
                    .by = options.by};
    if (*waits)
        out.before = (*waits)->before;
    else if (time_.now() >= last_in_tables_->policy.expires)
        return fail(last_in_tables_->policy.title() + " has expired, so nobody can go back to it; push without " +
                    "--wait-healthy");
    else if (auto before = folder_.read(kPolicyBundle, policy::kMaxEnvelopeBytes.value))
        change.files.push_back({kPolicyBefore, std::move(*before)});
    else
        return fail("the policy in force cannot be read, so nobody could go back to it", std::move(before.error()));
    change.entries[kPendingPush] = out.to_json();
    return out;
}

} // namespace penstock::core
