// What PolicyManager does without a push: the clock, windows and interfaces, addresses that devices learn, and taking
// every right away.
#include "agent/core/policy_fit.hpp"
#include "agent/core/policy_manager.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace penstock::core {
namespace {

// A list that cannot be had says nothing; the next tick asks again.
bool interfaces_changed(const policy::Policy& policy, const Interfaces& known) {
    if (known.empty())
        return false;
    const auto links = net::list_links();
    return links && interfaces_of(policy, *links) != known;
}

} // namespace

void PolicyManager::look_at_clock() {
    const auto shown = time_.behind();
    if (shown && !clock_told_)
        events_.add(log::Level::warning, "clock_behind",
                    {{"clock", policy::format_time(*shown)},
                     {"at_least", policy::format_time(time_.now())},
                     {"effect", "what expires is judged by the later time"},
                     {"mend", "set the clock, or have NTP do it; if it is right, it was ahead before: bundles must be "
                              "valid for longer"}});
    clock_told_ = shown.has_value();
    const auto time = time_.look(in_force_->verified->policy.expires);
    const auto now = std::chrono::steady_clock::now();
    if (!time || now < keep_time_after_)
        return;
    keep_time_after_ = now + std::chrono::minutes(1); // a disk that is full is asked again
    auto done = std::make_shared<Status>();
    worker_.post([this, done, time] { *done = time_.keep(*time); },
                 [this, done] {
                     if (!*done)
                         events_.add(log::Level::warning, "state_problem", {{"why", done->error().message()}});
                 });
}

void PolicyManager::check_expiry() {
    if (!in_force_)
        return;
    look_at_clock();
    if (time_.now() < in_force_->verified->policy.expires) {
        come_back(); // the clock was wrong for a while
        return;
    }
    if (!expired_)
        events_.add(log::Level::error, "policy_expired",
                    {{"version", in_force_->verified->policy.version},
                     {"expired", policy::format_time(in_force_->verified->policy.expires)},
                     {"effect", config_.lock_on_expiry ? "everything is refused" : "kept in force"},
                     {"mend", "push a newer bundle"}});
    expired_ = true;
    if (config_.lock_on_expiry && !locked_)
        lock();
}

// The worker compiles what is in force now for what is so now, unless something else came into force meanwhile.
void PolicyManager::check_circumstances() {
    if (!in_force_ || locked_ || switching_)
        return;
    if (in_force_->schedule.due(policy::now()) ||
        interfaces_changed(in_force_->verified->policy, in_force_->interfaces))
        return compile_again(in_force_->verified->digest, If_impossible::lock);
    compile_learnt();
    look_for_unused_addresses();
}

// Not while the tables are being made, nor all the time.
void PolicyManager::compile_learnt() {
    if (learnt_changed_ && !switching_ && std::chrono::steady_clock::now() >= compile_after_)
        compile_again(in_force_->verified->digest, If_impossible::keep);
}

// On the worker, because what is in force and the flows are its.
void PolicyManager::look_for_unused_addresses() {
    const auto now = std::chrono::steady_clock::now();
    if (now < unused_after_ || learnt_.empty())
        return;
    unused_after_ = now + std::chrono::minutes(1);
    const auto work = [this] {
        const auto in_use = [this](const IpAddress& address) {
            return store_.used_within(address, LearntAddresses::kHold);
        };
        if (learnt_.expire(std::chrono::steady_clock::now(), in_use))
            learnt_changed_ = true;
    };
    worker_.post(work, [] {});
}

Status PolicyManager::claim(std::uint32_t slot, const MacAddress& mac, const IpAddress& address, int ifindex) {
    const auto index = slot < by_slot_.size() ? by_slot_[slot] : kNobody;
    if (!in_force_ || locked_ || index == kNobody)
        return fail("no policy with this device is in force any more");
    const auto& device = in_force_->tables.devices[index];
    if (!device.learns || device.mac != mac)
        return fail("the device does not learn its addresses any more");
    const auto held = learnt_.holds(mac, address);
    if (!held)
        return tl::unexpected(held.error());
    if (!*held) {
        const auto own = lan_addresses();
        if (!own)
            return tl::unexpected(own.error());
        if (auto ok = check_claim(address, ifindex, config_, *own); !ok)
            return ok;
        if (auto ok = learnt_.claim(mac, address, std::chrono::steady_clock::now()); !ok)
            return ok;
        events_.add(log::Level::info, "address_learnt",
                    {{"device", policy()->devices[index].name}, {"address", address.str()}});
    }
    // Also one that is held already and is not in force: who has it would not speak of it otherwise.
    if (std::ranges::find(device.addresses, address) == device.addresses.end())
        learnt_changed_ = true;
    compile_learnt();
    return {};
}

std::shared_ptr<const policy::Policy> PolicyManager::policy_with_learnt() const {
    std::shared_ptr<const policy::Policy> policy(in_force_, &in_force_->verified->policy);
    if (learnt_.empty())
        return policy;
    auto out = std::make_shared<policy::Policy>(*policy);
    for (std::size_t i = 0; i < out->devices.size(); i++)
        if (out->devices[i].learns())
            out->devices[i].addresses = in_force_->tables.devices[i].addresses;
    return out;
}

void PolicyManager::come_back() {
    if (expired_ && locked_ && !switching_ && !locking_)
        compile_again("", If_impossible::lock); // of what the lock left
    else if (!locked_ && !locking_)
        expired_ = false;
}

// in_tables: the digest that the tables must still have by then.
void PolicyManager::compile_again(const std::string& in_tables, If_impossible then) {
    struct Switch {
        std::shared_ptr<Candidate> candidate = std::make_shared<Candidate>();
        bool done = false;
        Status status;
        std::chrono::steady_clock::duration took{};
    };
    switching_ = true;
    learnt_changed_ = false;
    auto job = std::make_shared<Switch>();
    job->candidate->verified = in_force_->verified;
    const auto work = [this, job, in_tables] {
        if (digest_in_tables_ != in_tables)
            return;
        const auto began = std::chrono::steady_clock::now();
        job->status = fill_tables(*job->candidate);
        if (job->status)
            job->status = stage(*job->candidate);
        if (job->status)
            job->status = assign_slots(*job->candidate); // of one that was locked since it came, nobody has any
        if (job->status)
            job->status = store_.commit();
        job->done = job->status.has_value();
        if (job->done) {
            digest_in_tables_ = job->candidate->verified->digest;
            (void)store_.retire(); // as in put_in_force()
        }
        job->took = std::chrono::steady_clock::now() - began;
    };
    const bool comes_back = in_tables.empty();
    worker_.post(work, [this, job, then, comes_back] {
        switching_ = false;
        compile_after_ = std::chrono::steady_clock::now() + 10 * job->took;
        if (job->done) {
            replace_in_force(job->candidate);
            know_slots();
            say_forgotten(*in_force_);
            if (comes_back)
                expired_ = locked_ = false;
            if (then == If_impossible::lock)
                events_.add(log::Level::info, "policy_compiled_again",
                            {{"version", in_force_->verified->policy.version}, {"generation", store_.generation()}});
        } else if (job->status) {
            learnt_changed_ = true;               // another policy came first, perhaps without them
        } else if (then == If_impossible::keep) { // no right has ended
            learnt_changed_ = true;
            compile_after_ += std::chrono::seconds(10);
            events_.add(log::Level::error, "addresses_not_learnt", {{"why", job->status.error().message()}});
        } else { // rights that should have ended must not go on
            events_.add(log::Level::error, "policy_not_compiled_again",
                        {{"why", job->status.error().message()},
                         {"effect", "everything is refused"},
                         {"mend", "restart penstockd, or push a bundle"}});
            lock();
        }
    });
}

void PolicyManager::lock() {
    if (locking_)
        return;
    locking_ = true;
    struct Lock {
        std::string about; // the policy to take out of force; not one that a push put there meanwhile
        bool done = false;
        Status status;
    };
    auto job = std::make_shared<Lock>(Lock{.about = in_force_ ? in_force_->verified->digest : ""});
    const auto work = [this, job] {
        if (digest_in_tables_ != job->about)
            return;
        job->status = store_.lock();
        job->done = job->status.has_value();
        if (job->done)
            digest_in_tables_.clear();
    };
    worker_.post(work, [this, job] {
        locking_ = false;
        if (job->done)
            locked_ = true;
        else if (!job->status)
            events_.add(log::Level::error, "lock_failed", {{"why", job->status.error().message()}});
    });
}

} // namespace penstock::core
