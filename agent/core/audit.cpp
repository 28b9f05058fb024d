#include "agent/core/audit.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace penstock::core {
namespace {

constexpr std::array<std::string_view, 20> kAudited = {
    "agent_started",  "state_not_opened", "policy_in_force",     "policy_expired",      "stored_policy_refused",
    "bundle_refused", "bundle_failed",    "policy_without_root", "root_in_force",       "tunnel_command",
    "guard_released", "frame_in_clear",   "witness_cleared",     "gate_failed",         "reloaded",
    "reload_refused", "policy_confirmed", "policy_reverted",     "policy_not_reverted", "identities_revealed",
};
constexpr unsigned kBurst = 100;
constexpr auto kRefill = std::chrono::seconds(30);
constexpr std::size_t kMaxWaiting = 1000;

// What only a valid signature can cause is kept whoever brings it.
bool is_limited(const nlohmann::json& event) {
    constexpr std::array<std::string_view, 5> kUnlimited = {"policy_in_force", "root_in_force", "policy_confirmed",
                                                            "policy_reverted", "policy_not_reverted"};
    return event.value("uid", 0U) != 0 && std::ranges::find(kUnlimited, event.value("event", "")) == kUnlimited.end();
}

} // namespace

bool is_audited(std::string_view event) { return std::ranges::find(kAudited, event) != kAudited.end(); }

Result<std::unique_ptr<Audit>> Audit::make(EventLoop& loop, EventLog& events, store::SealedFolder& folder,
                                           const store::AuditLog::Limits& limits) {
    std::unique_ptr<Audit> audit(new Audit(events, folder, limits));
    auto worker = Worker::make(loop);
    if (!worker)
        return tl::unexpected(worker.error());
    audit->worker_ = std::move(*worker);
    audit->tokens_ = kBurst;
    audit->follower_ = events.follow([raw = audit.get()](const nlohmann::json& event) { raw->take(event); });
    return audit;
}

Audit::~Audit() {
    if (!worker_)
        return;
    events_.unfollow(follower_);
    worker_->drain();
}

bool Audit::admit(const nlohmann::json& event) {
    if (waiting_ >= kMaxWaiting)
        return false;
    if (!is_limited(event))
        return true;
    const auto now = Clock::now();
    if (tokens_ == kBurst)
        next_refill_ = now + kRefill;
    while (now >= next_refill_ && tokens_ < kBurst) {
        tokens_++;
        next_refill_ += kRefill;
    }
    if (tokens_ == 0)
        return false;
    tokens_--;
    return true;
}

Status Audit::will_keep(uid_t uid) const {
    if (!trouble_.empty())
        return fail(trouble_);
    if (waiting_ >= kMaxWaiting)
        return fail("the disk is too slow");
    if (uid != 0 && tokens_ == 0 && Clock::now() < next_refill_)
        return fail("too much was done in a short time; try again in half a minute");
    return {};
}

void Audit::take(const nlohmann::json& event) {
    if (!is_audited(event["event"].get_ref<const std::string&>()))
        return;
    if (!admit(event)) {
        not_kept_++;
        return;
    }
    auto record = event;
    if (const auto lost = std::exchange(not_kept_, 0); lost != 0)
        record["not_kept_before"] = lost;
    write(std::move(record));
}

void Audit::write(nlohmann::json record) {
    waiting_++;
    auto trouble = std::make_shared<std::string>();
    worker_->post(
        [this, trouble, record = std::move(record)] {
            const auto ok = log_.append(record);
            *trouble = ok ? log_.trouble() : "records are not written: " + ok.error().message();
        },
        [this, trouble] {
            waiting_--;
            if (*trouble != trouble_ && !trouble->empty())
                events_.add(log::Level::error, "audit_problem", {{"why", *trouble}});
            trouble_ = *trouble;
        });
}

void Audit::read(const Wanted& wanted, std::function<void(const Read&)> done) {
    if (std::exchange(reading_, true)) {
        done({.report = fail("it is being read for somebody else; try again")});
        return;
    }
    auto out = std::make_shared<Read>();
    worker_->post(
        [this, out, wanted] {
            out->report = log_.verify(wanted.expected, [&](const nlohmann::json& record) {
                if (wanted.last == 0 || (!wanted.event.empty() && record.value("event", "") != wanted.event) ||
                    record.value("time", "") < wanted.since)
                    return;
                out->records.push_back(record);
                if (out->records.size() > wanted.last)
                    out->records.pop_front();
            });
        },
        [this, out, done = std::move(done)] {
            reading_ = false;
            done(*out);
        });
}

} // namespace penstock::core
