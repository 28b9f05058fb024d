#include "agent/core/policy_manager.hpp"

#include "agent/core/policy_fit.hpp"
#include "agent/core/state.hpp"
#include "agent/datapath/gate.hpp"

#include <algorithm>
#include <cerrno>
#include <malloc.h>
#include <nlohmann/json.hpp>
#include <set>

namespace penstock::core {
namespace {

using policy::Refusal;
using policy::Refused;

std::string group_names(const policy::Policy& policy, const policy::Device& device) {
    std::string out;
    for (const auto group : device.groups)
        out += (out.empty() ? "" : ", ") + policy.groups[group].name;
    return out;
}

// Not the bundle's fault: the gateway cannot judge it.
tl::unexpected<Refused> unable(const Error& error) {
    return tl::unexpected(Refused{Refusal::gateway_unable, error.message()});
}

} // namespace

PolicyManager::PolicyManager(const Config& config, Worker& worker, EventLog& events, datapath::PolicyStore& store,
                             const datapath::Counters& counters, store::SealedFolder& folder)
    : config_(config), worker_(worker), events_(events), store_(store), counters_(counters), folder_(folder),
      roots_(config, folder), time_(folder) {}

// Only a ledger that says so means "none yet". Anything else would forget, in silence, what must not be rolled back.
Result<PolicyManager::Last> PolicyManager::read_last() const {
    const auto last = folder_.recall(kLastPolicy);
    if (!last)
        return tl::unexpected(last.error());
    if (last->is_null())
        return Last{};
    return Last{.version = last->value("version", std::uint64_t{0}), .digest = last->value("digest", "")};
}

// After a push went back, what is stored is the policy before it, and nothing else.
Result<PolicyManager::Last> PolicyManager::read_stored() const {
    const auto entry = folder_.recall(kWentBack);
    if (!entry)
        return tl::unexpected(entry.error());
    const auto back = WentBack::read(*entry);
    if (!back)
        return tl::unexpected(back.error());
    if (!*back)
        return read_last();
    return Last{.version = (*back)->to.version, .digest = (*back)->to.digest, .exactly = true};
}

PolicyManager::Verified PolicyManager::verify(const std::string& bundle, const Last& last, bool keep_expired) const {
    const auto root = roots_.load();
    if (!root)
        return unable(root.error());
    const policy::VerifyContext context{.gateway = config_.gateway,
                                        .last_version = last.version,
                                        .last_digest = last.digest,
                                        .now = time_.now(),
                                        .keep_expired = keep_expired};
    auto candidate = std::make_shared<Candidate>();
    auto content = policy::verify_signatures(bundle, *root, context);
    if (!content)
        return tl::unexpected(content.error());
    candidate->times.done("verify");
    auto verified = policy::verify_content(std::move(*content), *root, context);
    if (!verified)
        return tl::unexpected(verified.error());
    candidate->times.done("parse");
    if (last.exactly && !verified->already_in_force)
        return tl::unexpected(Refused{Refusal::conflicting_version,
                                      verified->policy.title() + " is not the policy that was in force before"});
    candidate->verified = std::make_shared<const policy::VerifiedPolicy>(std::move(*verified));
    if (auto ok = fill_tables(*candidate); !ok)
        return unable(ok.error());
    candidate->times.done("compile");
    return candidate;
}

// The gateway's own on the LANs: what somebody gives to an uplink must not take a policy out of force.
Result<std::vector<net::Address>> PolicyManager::lan_addresses() const {
    const auto links = net::list_links();
    if (!links)
        return tl::unexpected(links.error());
    auto out = net::list_addresses();
    if (out)
        std::erase_if(*out, [&](const net::Address& address) {
            const auto link = std::ranges::find(*links, address.ifindex, &net::Link::index);
            return link == links->end() || std::ranges::find(config_.lan, link->name) == config_.lan.end();
        });
    return out;
}

// A device keeps its slot, and with it counters and flows; a newcomer gets one that no device of this policy has.
Status PolicyManager::fill_tables(Candidate& candidate) const {
    const auto& policy = candidate.verified->policy;
    const auto now = policy::now();
    auto compiled = policy::compile(policy, now);
    candidate.schedule = {.compiled_at = now, .next_change = compiled.next_change};
    const auto links = net::list_links();
    if (!links)
        return tl::unexpected(links.error());
    const auto own = lan_addresses();
    if (!own)
        return tl::unexpected(own.error());
    if (auto ok = check_fit(policy, compiled, config_, *own); !ok)
        return ok;
    add_learnt(compiled, *own);
    std::set<std::uint32_t> taken;
    for (const auto& device : compiled.devices)
        if (const auto kept = slots_.find(device.mac); kept != slots_.end())
            taken.insert(kept->second);
    std::uint32_t next = 0;
    std::vector<std::uint32_t> slots;
    slots.reserve(compiled.devices.size());
    for (std::size_t i = 0; i < compiled.devices.size(); i++) {
        const auto kept = slots_.find(compiled.devices[i].mac);
        if (kept == slots_.end()) {
            while (taken.contains(next))
                next++;
            candidate.newcomers.push_back(i);
        }
        slots.push_back(kept == slots_.end() ? next++ : kept->second);
    }
    candidate.interfaces = interfaces_of(policy, *links);
    candidate.tables = to_tables(compiled, slots, candidate.interfaces);
    return {};
}

// Less what this policy lists, what the gateway has itself by now, and what no tunnel is for any more.
void PolicyManager::add_learnt(policy::CompiledPolicy& compiled, const std::vector<net::Address>& own) const {
    if (learnt_.empty())
        return;
    std::set<IpAddress> taken;
    for (const auto& address : own)
        taken.insert(address.address);
    for (const auto& device : compiled.devices)
        taken.insert(device.addresses.begin(), device.addresses.end());
    const auto networks = config_.device_networks();
    const auto fits = [&](const IpAddress& address) {
        return !taken.contains(address) &&
               std::ranges::any_of(networks, [&](const IpPrefix& network) { return network.contains(address); });
    };
    for (auto& device : compiled.devices)
        if (device.learns)
            std::ranges::copy_if(learnt_.of(device.mac), std::back_inserter(device.addresses), fits);
}

// What devices claim must not keep a policy from coming into force.
Status PolicyManager::stage(Candidate& candidate) {
    auto ok = store_.stage(candidate.tables);
    if (ok)
        std::vector<datapath::Block>().swap(candidate.tables.blocks); // the kernel has them now
    if (ok || learnt_.empty())
        return ok;
    auto tables = candidate.tables;
    for (auto& device : tables.devices)
        if (device.learns)
            device.addresses.clear();
    if (!store_.stage(tables))
        return ok;
    learnt_.forget_all();
    candidate.forgot_learnt = true;
    std::vector<datapath::Block>().swap(tables.blocks);
    candidate.tables = std::move(tables);
    return {};
}

void PolicyManager::say_forgotten(const Candidate& candidate) {
    if (candidate.forgot_learnt)
        events_.add(log::Level::error, "learnt_addresses_forgotten",
                    {{"why", "the tables could not be made with them"}, {"effect", "devices learn theirs anew"}});
}

Status PolicyManager::put_in_force(Candidate& candidate, const store::SealedFolder::Change* to_store) {
    if (auto ok = stage(candidate); !ok)
        return ok;
    candidate.times.done("tables");
    if (to_store != nullptr)
        if (auto ok = folder_.commit(*to_store); !ok)
            return ok;
    candidate.times.done("store");
    if (auto ok = assign_slots(candidate); !ok)
        return ok;
    if (auto ok = store_.commit(); !ok)
        return ok;
    candidate.times.done("switch");
    digest_in_tables_ = candidate.verified->digest;
    last_in_tables_ = candidate.verified;
    (void)store_.retire(); // what it could not do is done, or its error told, by the next stage()
    return {};
}

// Wipes what the slot's last owner left there: only once nothing but the switch itself is still to come.
Status PolicyManager::assign_slots(const Candidate& candidate) {
    std::vector<bool> taken(config_.device_capacity, false); // from whoever had them
    for (const auto newcomer : candidate.newcomers)
        taken.at(candidate.tables.devices[newcomer].slot) = true;
    if (!candidate.newcomers.empty())
        std::erase_if(slots_, [&](const auto& entry) { return entry.second < taken.size() && taken[entry.second]; });
    std::vector<std::pair<MacAddress, std::uint32_t>> newcomers;
    for (const auto newcomer : candidate.newcomers) {
        const auto& device = candidate.tables.devices[newcomer];
        newcomers.emplace_back(device.mac, device.slot);
        slots_[device.mac] = device.slot;
    }
    return counters_.assign(newcomers);
}

// Reading a policy takes many times what is kept of it. Given back by the worker, and with it the policy before: who
// frees or trims waits for the other.
void PolicyManager::replace_in_force(std::shared_ptr<const Candidate> candidate) {
    worker_.post(
        [old = std::exchange(in_force_, std::move(candidate))]() mutable {
            old.reset();
            malloc_trim(0);
        },
        [] {});
}

void PolicyManager::take(std::shared_ptr<Candidate> candidate, const Asker* pushed_by) {
    replace_in_force(std::move(candidate));
    know_slots();
    say_forgotten(*in_force_);
    std::set<MacAddress> learning;
    std::set<IpAddress> listed;
    for (const auto& device : in_force_->tables.devices)
        if (device.learns)
            learning.insert(device.mac);
        else if (!learnt_.empty())
            listed.insert(device.addresses.begin(), device.addresses.end());
    learnt_.keep([&](const MacAddress& device, const IpAddress& address) {
        return learning.contains(device) && !listed.contains(address);
    });
    expired_ = false;
    locked_ = false;
    const auto& policy = in_force_->verified->policy;
    nlohmann::json fields = {{"fleet", policy.fleet},
                             {"version", policy.version},
                             {"expires", policy::format_time(policy.expires)},
                             {"devices", policy.devices.size()},
                             {"digest", digest()},
                             {"generation", store_.generation()}};
    if (pushed_by)
        pushed_by->sign(fields);
    events_.add(log::Level::info, "policy_in_force", std::move(fields));
}

void PolicyManager::know_slots() {
    by_slot_.clear();
    const auto& known = in_force_->tables.devices;
    for (std::uint32_t i = 0; i < known.size(); i++) {
        if (known[i].slot >= by_slot_.size())
            by_slot_.resize(known[i].slot + 1, kNobody);
        by_slot_[known[i].slot] = i;
    }
}

// What cannot be verified again is not in force, whatever the kernel still holds of it.
Status PolicyManager::refuse_stored(const std::string& name, const std::string& why) {
    events_.add(log::Level::error, "stored_policy_refused", {{"refusal", name}, {"why", why}});
    return store_.lock();
}

// What counts at a start counts from then on, also if a version without a ledger, or a configuration, brought it. The
// disk may be full, or read-only: then the next start tries again.
void PolicyManager::remember(std::uint64_t version, const std::string& digest) {
    const auto last = read_last();
    if (last && (last->version != version || last->digest != digest))
        if (auto ok = folder_.keep(kLastPolicy, {{"version", version}, {"digest", digest}}); !ok)
            events_.add(log::Level::warning, "state_problem", {{"why", ok.error().message()}});
}

Status PolicyManager::load_stored() {
    for (const auto& ok : {time_.load(), roots_.remember()})
        if (!ok)
            events_.add(log::Level::warning, "state_problem", {{"why", ok.error().message()}});
    std::map<std::uint32_t, MacAddress> owners;
    for (const auto& [mac, slot] : counters_.owners(config_.device_capacity)) {
        slots_[mac] = slot;
        owners[slot] = mac;
    }
    // Whatever the kernel knows of a device that learns now, it learnt, or was told by an older policy.
    for (const auto& address : store_.addresses())
        if (const auto owner = owners.find(address.slot); owner != owners.end())
            (void)learnt_.claim(owner->second, datapath::from_abi(address.address), std::chrono::steady_clock::now());
    if (const auto overdue = return_overdue())
        return load(*overdue, {went_back_->to.version, went_back_->to.digest, true});
    const auto bundle = folder_.read(kPolicyBundle, policy::kMaxEnvelopeBytes.value);
    if (!bundle && bundle.error().code() != ENOENT)
        return refuse_stored("unreadable", bundle.error().message());
    if (!bundle && !folder_.recall(kLastPolicy).value_or(nullptr).is_null())
        return refuse_stored("gone", folder_.path(kPolicyBundle).string() + " is gone; push the policy again");
    if (!bundle) {
        events_.add(log::Level::warning, "no_policy", {{"mend", "push one: penstock push FILE"}});
        return store_.generation() ? store_.lock() : Status{};
    }
    const auto stored = read_stored();
    if (!stored)
        return refuse_stored("gateway_unable", stored.error().message());
    if (auto ok = load(*bundle, *stored); !ok)
        return ok;
    resume_wait();
    return {};
}

// Of the one before a push that went back, the version is not the last one.
Status PolicyManager::load(const std::string& bundle, const Last& must_be) {
    auto candidate = verify(bundle, must_be, true);
    if (candidate && !must_be.exactly)
        remember((*candidate)->verified->policy.version, (*candidate)->verified->digest);
    if (!candidate)
        return refuse_stored(std::string(policy::refusal_name(candidate.error().refusal)), candidate.error().message);
    // Of one that expired, not a packet passes under "lockdown": its tables are not filled first.
    locked_ = config_.lock_on_expiry && time_.now() >= (*candidate)->verified->policy.expires;
    if (locked_) {
        if (auto ok = store_.lock(); !ok)
            return ok;
        in_force_ = *candidate;
        last_in_tables_ = in_force_->verified;
        know_slots();
    } else {
        if (auto ok = put_in_force(**candidate, nullptr); !ok)
            return ok;
        take(*candidate, nullptr);
    }
    check_expiry();
    return {};
}

std::size_t PolicyManager::device_count() const { return in_force_ ? policy()->devices.size() : 0; }

PolicyManager::Device PolicyManager::device(std::size_t index) const {
    const auto& listed = policy()->devices[index];
    const auto& compiled = in_force_->tables.devices[index];
    Device out{.name = listed.name,
               .mac = listed.mac.str(),
               .addresses = {},
               .group = group_names(*policy(), listed),
               .slot = compiled.slot};
    for (const auto& address : compiled.addresses)
        out.addresses.push_back(address.str());
    return out;
}

std::string PolicyManager::device_name(std::uint32_t slot) const {
    const auto index = slot < by_slot_.size() ? by_slot_[slot] : kNobody;
    return index == kNobody ? "" : policy()->devices[index].name;
}

} // namespace penstock::core
