// From a bundle to the policy in force: verify, compile, store, stage, commit; again on every start. Refuses in words
// and leaves what is in force alone.
#pragma once

#include "agent/base/worker.hpp"
#include "agent/core/config.hpp"
#include "agent/core/event_log.hpp"
#include "agent/core/learnt_addresses.hpp"
#include "agent/core/pending_push.hpp"
#include "agent/core/requests.hpp"
#include "agent/core/root_store.hpp"
#include "agent/core/schedule.hpp"
#include "agent/core/step_times.hpp"
#include "agent/core/to_tables.hpp"
#include "agent/core/trusted_time.hpp"
#include "agent/datapath/counters.hpp"
#include "agent/datapath/policy_store.hpp"
#include "policy/bundle/verify.hpp"
#include "policy/compile.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>

namespace penstock::core {

class PolicyManager {
public:
    PolicyManager(const Config& config, Worker& worker, EventLog& events, datapath::PolicyStore& store,
                  const datapath::Counters& counters, store::SealedFolder& folder);

    // The bundle kept on disk, verified again. No bundle: nothing is allowed. Blocks: call it before the loop runs.
    Status load_stored();

    struct PushAnswer {
        Status status;
        std::string refusal;                  // name of the refusal, empty if none
        std::string message;                  // for a person, when it went well
        std::optional<std::uint64_t> version; // of the policy, if that is what was pushed
        // Of a policy that is or would be new, what it changes for whom, as `bundle diff` says it; and how many lines
        // there was no room for.
        std::vector<std::string> changed;
        std::size_t changed_left_out = 0;
        std::vector<StepTimes::Step> took; // in their order; none of root documents
        std::optional<policy::Time>
            waits_until; // in force, and waits for confirm() or go_back(): an answer will follow
        bool went_back = false;
    };
    struct PushOptions {
        bool dry_run = false;
        Asker by;                    // who pushes
        std::chrono::seconds wait{}; // not 0: goes back after so long unless it is confirmed
        std::vector<std::string> probes;
    };
    // A bundle, or root documents (root_chain.hpp).
    void push(Body bundle, PushOptions options, std::function<void(PushAnswer)> done);

    // The push that waits to be found well; nullptr: none does, or it is being decided.
    [[nodiscard]] const PendingPush* pending() const {
        return waiting_ && !waiting_->deciding ? &waiting_->push : nullptr;
    }
    [[nodiscard]] bool pending_is_over() const;
    // Of the push that waits. Tried again by the next call if the disk fails.
    void confirm();
    // The policy before it comes back, verified again; if it cannot, the newer one stays, and that is said.
    void go_back(const std::string& why);
    // Of what is in force, if a newer one was in force before.
    [[nodiscard]] const std::optional<WentBack>& went_back() const { return went_back_; }

    // Looks at the clock: says once, and locks if so configured, when the policy has expired. Keeps the time.
    void check_expiry();
    // Looks at the clock and the interfaces: compiles again when a window of a group has opened or closed, the clock
    // went back, or the LAN that a device is bound to is another interface now.
    void check_circumstances();
    // A device says that an address is its own, on the LAN interface `ifindex`, and nobody has it: it does from now on,
    // if it learns its addresses and may have this one. An error says why not.
    Status claim(std::uint32_t slot, const MacAddress& mac, const IpAddress& address, int ifindex);
    // Takes every right away until the next bundle or restart. Tried again by check_expiry() until it holds.
    void lock();

    // By whose keys the next bundle is judged; read anew.
    [[nodiscard]] Result<policy::Root> root() const { return roots_.load(); }
    [[nodiscard]] const policy::Policy* policy() const { return in_force_ ? &in_force_->verified->policy : nullptr; }
    // The policy with the addresses that devices learnt in it, as if it listed them. Call it if there is one.
    [[nodiscard]] std::shared_ptr<const policy::Policy> policy_with_learnt() const;
    [[nodiscard]] const TrustedTime& time() const { return time_; }
    [[nodiscard]] bool expired() const { return expired_; }
    [[nodiscard]] bool locked() const { return locked_; }
    [[nodiscard]] const std::string& digest() const { return in_force_->verified->digest; }
    struct Device {
        std::string name;
        std::string mac;
        std::vector<std::string> addresses;
        std::string group; // of several, their names with commas
        std::uint32_t slot;
    };
    [[nodiscard]] std::size_t device_count() const;
    [[nodiscard]] Device device(std::size_t index) const; // below device_count(); what it learnt is among the addresses
    [[nodiscard]] std::string device_name(std::uint32_t slot) const; // empty if none has it

private:
    struct Candidate {
        std::shared_ptr<const policy::VerifiedPolicy> verified;
        Schedule schedule;
        Interfaces interfaces;
        datapath::PolicyTables tables;
        std::vector<std::size_t> newcomers; // of the devices, those that get a slot of their own now
        bool forgot_learnt = false;         // with the learnt addresses it could not be staged
        StepTimes times;
    };
    using Verified = tl::expected<std::shared_ptr<Candidate>, policy::Refused>;
    struct Last {
        std::optional<std::uint64_t> version;
        std::optional<std::string> digest;
        bool exactly = false; // nothing newer either
    };
    struct Waiting {
        PendingPush push;
        std::chrono::steady_clock::time_point deadline;
        std::function<void(PushAnswer)> done; // none: of a penstockd before this one
        bool deciding = false;
        bool told = false; // that the disk fails
    };
    struct Return; // the way back of one push
    struct Push;   // one push under way
    static constexpr std::uint32_t kNobody = 0xffffffff;

    // These run on the worker, as does everything that changes store_ and the members marked so, once the loop runs.
    Verified verify(const std::string& bundle, const Last& last, bool keep_expired) const;
    Status fill_tables(Candidate& candidate) const;
    void add_learnt(policy::CompiledPolicy& compiled, const std::vector<net::Address>& own) const;
    Status stage(Candidate& candidate);
    Status put_in_force(Candidate& candidate, const store::SealedFolder::Change* to_store);
    Status assign_slots(const Candidate& candidate);
    void remember(std::uint64_t version, const std::string& digest);
    [[nodiscard]] Result<Last> read_last() const;
    [[nodiscard]] Result<Last> read_stored() const; // what the stored bundle must be
    Result<PendingPush> prepare_wait(const policy::VerifiedPolicy& pushed, const PushOptions& options,
                                     store::SealedFolder::Change& change) const;
    [[nodiscard]] Result<std::optional<PendingPush>> read_pending() const;
    [[nodiscard]] bool still_waits(const PendingPush& push) const;
    Verified verify_before(const PendingPush& push, std::string& bundle) const;
    [[nodiscard]] Status keep_return(const PendingPush& push, std::string bundle, const std::string& why) const;
    [[nodiscard]] Status keep_confirmed() const;

    void take_policy(Push& push);
    Status switch_to(Push& push);
    void in_force_now(const Push& push, PushAnswer& answer);
    void take_root(Push& push) const;
    void pushed(const Push& push);
    void end_wait(const PushAnswer& answer);
    void returned(const Return& job);
    std::optional<std::string> return_overdue(); // the bundle to be loaded, if there is such a push
    void resume_wait();
    Status load(const std::string& bundle, const Last& must_be);
    void root_pushed(const Push& push);
    void say_of(const Push& push, log::Level level, std::string_view event, nlohmann::json fields);
    void say_refused(const Push& push, const policy::Refused& refused);
    void take(std::shared_ptr<Candidate> candidate, const Asker* pushed_by);
    void replace_in_force(std::shared_ptr<const Candidate> candidate);
    void know_slots();
    enum class If_impossible { lock, keep };
    void compile_again(const std::string& in_tables, If_impossible then);
    void compile_learnt();
    void look_for_unused_addresses();
    void say_forgotten(const Candidate& candidate);
    [[nodiscard]] Result<std::vector<net::Address>> lan_addresses() const;
    void come_back();
    void look_at_clock();
    Status refuse_stored(const std::string& name, const std::string& why);

    const Config& config_;
    Worker& worker_;
    EventLog& events_;
    datapath::PolicyStore& store_;
    const datapath::Counters& counters_;
    store::SealedFolder& folder_;
    RootStore roots_;
    TrustedTime time_;
    std::string digest_in_tables_; // worker: of the policy that store_ holds; empty: none, or locked
    std::shared_ptr<const policy::VerifiedPolicy> last_in_tables_; // worker: also of a lock
    std::map<MacAddress, std::uint32_t> slots_;                    // worker: who has which slot of the counters
    LearntAddresses learnt_;
    std::shared_ptr<const Candidate> in_force_;
    std::vector<std::uint32_t> by_slot_;  // index of the device in force that has it, kNobody if none
    std::atomic<bool> learnt_changed_{};  // since what is in force was compiled
    LearntAddresses::Time compile_after_; // for the sake of learnt addresses: not all the time
    LearntAddresses::Time unused_after_;  // when to look for addresses that nobody uses any more
    std::optional<Waiting> waiting_;
    std::optional<WentBack> went_back_;
    bool expired_ = false;
    bool locked_ = false;
    bool locking_ = false;
    bool switching_ = false;
    bool clock_told_ = false; // that it is behind
    std::chrono::steady_clock::time_point keep_time_after_;
};

} // namespace penstock::core
