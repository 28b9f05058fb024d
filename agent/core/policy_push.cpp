// What PolicyManager does with a push: a bundle, or root documents.
#include "agent/core/policy_manager.hpp"
#include "agent/core/state.hpp"
#include "policy/diff.hpp"

#include <nlohmann/json.hpp>

namespace penstock::core {
namespace {

using policy::Refused;

constexpr std::size_t kMostLines = 200; // of what is said about one push; 100,000 devices may change, each otherwise

} // namespace

// One push, from the loop to the worker and back.
struct PolicyManager::Push {
    std::string bundle;
    bool dry_run;
    uid_t by;
    std::function<void(PushAnswer)> done;
    Verified result = tl::unexpected(Refused{});
    bool unchanged = false;                                      // what is in the tables already
    std::optional<tl::expected<RootStore::Taken, Refused>> root; // what was pushed was no bundle
    PushAnswer answer;                                           // less what is said about its outcome
    std::string orphaned; // why the stored bundle would be refused under that root; empty: it would not
    Status status;
};

void PolicyManager::push(std::string bundle, bool dry_run, uid_t by, std::function<void(PushAnswer)> done) {
    auto job = std::make_shared<Push>(
        Push{.bundle = std::move(bundle), .dry_run = dry_run, .by = by, .done = std::move(done)});
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
    push.result = verify(push.bundle, false);
    if (!push.result)
        return;
    auto& candidate = **push.result;
    push.unchanged = candidate.verified->digest == digest_in_tables_;
    const auto before = last_in_tables_;
    if (!push.dry_run && !push.unchanged)
        push.status = put_in_force(candidate, &push.bundle);
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

// A policy goes on under the root that it was accepted under; only the next start asks for the new one's signatures.
void PolicyManager::take_root(Push& push) const {
    push.root = roots_.take(push.bundle, time_.now(), push.dry_run);
    if (!*push.root || push.dry_run)
        return;
    const auto stored = folder_.read(kPolicyBundle, policy::kMaxEnvelopeBytes.value);
    if (!stored)
        return;
    if (const auto again = verify(*stored, true); !again)
        push.orphaned = again.error().message;
}

void PolicyManager::root_pushed(const Push& push) {
    if (!*push.root)
        return say_refused(push, push.root->error());
    const auto& taken = **push.root;
    const auto title = "root of " + taken.root.fleet + " version " + std::to_string(taken.root.version);
    if (push.dry_run)
        return push.done({{}, "", title + " would be accepted"});
    std::string message = title + " is in force, after version " + std::to_string(taken.before);
    if (taken.already_in_force)
        message = title + " is already in force";
    else
        events_.add(log::Level::info, "root_in_force",
                    {{"fleet", taken.root.fleet},
                     {"version", taken.root.version},
                     {"before", taken.before},
                     {"uid", push.by},
                     {"expires", policy::format_time(taken.root.expires)}});
    if (!push.orphaned.empty()) {
        constexpr auto kMend = "push a bundle signed by its policy keys before the next restart";
        events_.add(log::Level::error, "policy_without_root",
                    {{"why", push.orphaned}, {"mend", kMend}, {"uid", push.by}});
        message += "; the policy in force would be refused under it (" + push.orphaned + "): " + kMend;
    }
    push.done({{}, "", message});
}

void PolicyManager::say_refused(const Push& push, const Refused& refused) {
    const auto name = std::string(policy::refusal_name(refused.refusal));
    events_.add(log::Level::warning, "bundle_refused",
                {{"refusal", name}, {"why", refused.message}, {"dry_run", push.dry_run}, {"uid", push.by}});
    push.done({fail(refused.message), name, ""});
}

void PolicyManager::pushed(const Push& push) {
    if (push.root)
        return root_pushed(push);
    if (!push.result)
        return say_refused(push, push.result.error());
    const auto title = (*push.result)->verified->policy.title();
    auto answer = push.answer;
    answer.took = (*push.result)->times.steps();
    if (!push.status) {
        events_.add(log::Level::error, "bundle_failed", {{"why", push.status.error().message()}, {"uid", push.by}});
        answer.status = push.status;
        return push.done(answer);
    }
    answer.message = title + (push.unchanged ? " is already in force"
                              : push.dry_run ? " would be accepted"
                                             : " is in force");
    if (!push.unchanged && !push.dry_run)
        take(*push.result, push.by);
    push.done(answer);
}

} // namespace penstock::core
