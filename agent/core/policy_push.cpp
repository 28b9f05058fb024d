// What PolicyManager does with a push: a bundle, or root documents.
#include "agent/core/policy_manager.hpp"
#include "agent/core/state.hpp"
#include "policy/diff.hpp"

#include <nlohmann/json.hpp>
#include <utility>

namespace penstock::core {
namespace {

using policy::Refused;

constexpr std::size_t kMostLines = 200; // of what is said about one push; 100,000 devices may change, each otherwise

} // namespace

// One push, from the loop to the worker and back.
struct PolicyManager::Push {
    std::string bundle;
    std::shared_ptr<const void> room; // of its bytes
    PushOptions options;
    std::function<void(PushAnswer)> done;
    Verified result = tl::unexpected(Refused{});
    bool unchanged = false;                                      // what is in the tables already
    std::optional<tl::expected<RootStore::Taken, Refused>> root; // what was pushed was no bundle
    PushAnswer answer;                                           // less what is said about its outcome
    std::string orphaned; // why the stored bundle would be refused under that root; empty: it would not
    std::optional<PendingPush> waits;
    Status status;
};

void PolicyManager::push(Body bundle, PushOptions options, std::function<void(PushAnswer)> done) {
    auto job = std::make_shared<Push>(Push{.bundle = std::move(bundle.bytes),
                                           .room = std::move(bundle.room),
                                           .options = std::move(options),
                                           .done = std::move(done)});
    const auto work = [this, job] {
        if (policy::is_root_chain(job->bundle))
            take_root(*job);
        else
            take_policy(*job);
    };
    worker_.post(work, [this, job] { pushed(*job); });
}

// What it changes is looked at last: nobody waits for a switch because of the words about it.
void PolicyManager::take_policy(Push& push) {
    const auto last = read_last();
    if (!last) {
        push.result = tl::unexpected(Refused{policy::Refusal::gateway_unable, last.error().message()});
        return;
    }
    push.result = verify(push.bundle, *last, false);
    if (!push.result)
        return;
    auto& candidate = **push.result;
    push.unchanged = candidate.verified->digest == digest_in_tables_;
    const auto before = last_in_tables_;
    if (!push.unchanged)
        push.status = switch_to(push);
    if (!push.status || push.unchanged)
        return;
    auto difference = policy::compare(before ? before->policy : policy::Policy{}, candidate.verified->policy);
    if (!before)
        difference.header = {"there was no policy before"};
    push.answer.changed = policy::in_lines(difference);
    if (push.answer.changed.size() > kMostLines) {
        push.answer.changed_left_out = push.answer.changed.size() - kMostLines;
        push.answer.changed.resize(kMostLines);
    }
    candidate.times.done("compare");
}

Status PolicyManager::switch_to(Push& push) {
    auto& candidate = **push.result;
    const auto& verified = *candidate.verified;
    store::SealedFolder::Change change;
    change.entries = {{kLastPolicy, {{"version", verified.policy.version}, {"digest", verified.digest}}},
                      {kPendingPush, nullptr},
                      {kWentBack, nullptr}};
    if (push.options.wait.count() != 0) {
        auto waits = prepare_wait(verified, push.options, change);
        if (!waits)
            return tl::unexpected(waits.error());
        push.waits = std::move(*waits);
    } else if (const auto waits = read_pending(); !waits || *waits) {
        change.files.push_back({kPolicyBefore, ""});
    }
    if (push.options.dry_run)
        return {};
    change.files.push_back({kPolicyBundle, std::move(push.bundle)});
    return put_in_force(candidate, &change);
}

// A policy goes on under the root that it was accepted under; only the next start asks for the new one's signatures.
void PolicyManager::take_root(Push& push) const {
    if (push.options.wait.count() != 0) {
        push.root = tl::unexpected(Refused{policy::Refusal::wrong_payload_type,
                                           "a root document cannot go back; push it without --wait-healthy"});
        return;
    }
    push.root = roots_.take(push.bundle, time_.now(), push.options.dry_run);
    if (!*push.root || push.options.dry_run)
        return;
    const auto stored = folder_.read(kPolicyBundle, policy::kMaxEnvelopeBytes.value);
    if (!stored)
        return;
    const auto must_be = read_stored();
    if (!must_be)
        return;
    if (const auto again = verify(*stored, *must_be, true); !again)
        push.orphaned = again.error().message;
}

void PolicyManager::root_pushed(const Push& push) {
    if (!*push.root)
        return say_refused(push, push.root->error());
    const auto& taken = **push.root;
    const auto title = "root of " + taken.root.fleet + " version " + std::to_string(taken.root.version);
    if (push.options.dry_run)
        return push.done({{}, "", title + " would be accepted"});
    std::string message = title + " is in force, after version " + std::to_string(taken.before);
    if (taken.already_in_force)
        message = title + " is already in force";
    else
        say_of(push, log::Level::info, "root_in_force",
               {{"fleet", taken.root.fleet},
                {"version", taken.root.version},
                {"before", taken.before},
                {"expires", policy::format_time(taken.root.expires)}});
    if (!push.orphaned.empty()) {
        constexpr auto kMend = "push a bundle signed by its policy keys before the next restart";
        say_of(push, log::Level::error, "policy_without_root", {{"why", push.orphaned}, {"mend", kMend}});
        message += "; the policy in force would be refused under it (" + push.orphaned + "): " + kMend;
    }
    push.done({{}, "", message});
}

// With who pushed.
void PolicyManager::say_of(const Push& push, log::Level level, std::string_view event, nlohmann::json fields) {
    push.options.by.sign(fields);
    events_.add(level, event, std::move(fields));
}

void PolicyManager::say_refused(const Push& push, const Refused& refused) {
    const auto name = std::string(policy::refusal_name(refused.refusal));
    say_of(push, log::Level::warning, "bundle_refused",
           {{"refusal", name}, {"why", refused.message}, {"dry_run", push.options.dry_run}});
    push.done({fail(refused.message), name, ""});
}

void PolicyManager::pushed(const Push& push) {
    if (push.root)
        return root_pushed(push);
    if (!push.result)
        return say_refused(push, push.result.error());
    const auto title = (*push.result)->verified->policy.title();
    auto answer = push.answer;
    answer.version = (*push.result)->verified->policy.version;
    answer.took = (*push.result)->times.steps();
    if (!push.status) {
        say_of(push, log::Level::error, "bundle_failed", {{"why", push.status.error().message()}});
        answer.status = push.status;
        return push.done(answer);
    }
    answer.message = title + (push.unchanged         ? " is already in force"
                              : push.options.dry_run ? " would be accepted"
                                                     : " is in force");
    if (!push.unchanged && !push.options.dry_run)
        return in_force_now(push, answer);
    push.done(answer);
}

// Whoever waits for a push before this one hears that nobody will find it well any more.
void PolicyManager::in_force_now(const Push& push, PushAnswer& answer) {
    went_back_.reset();
    const auto before = std::exchange(waiting_, std::nullopt);
    take(*push.result, &push.options.by);
    if (push.waits) {
        answer.waits_until = push.waits->until;
        waiting_ = Waiting{
            .push = *push.waits, .deadline = std::chrono::steady_clock::now() + push.waits->wait, .done = push.done};
    }
    push.done(answer);
    if (before && before->done)
        before->done({.status = fail("version " + std::to_string(before->push.pushed.version) +
                                     " was not found well before another policy was pushed: " +
                                     (*push.result)->verified->policy.title())});
}

} // namespace penstock::core
