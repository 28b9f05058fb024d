#include "agent/core/policy_manager.hpp"

#include "agent/base/file.hpp"
#include "agent/datapath/gate.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace penstock::core {
namespace {

using policy::Refusal;
using policy::Refused;

std::filesystem::path bundle_path(const Config& config) { return config.state / "policy.bundle"; }
// Beside the bundle, so that a bundle that is lost or spoiled does not take the memory of its version with it.
std::filesystem::path last_path(const Config& config) { return config.state / "policy.last"; }

penstock_rule_block abi_block(const policy::RuleBlock& rules) {
    penstock_rule_block block{};
    for (std::size_t i = 0; i < rules.size() && i < PENSTOCK_MAX_RULES; i++) {
        auto& out = block.rule[i];
        std::memcpy(out.address.bytes, rules[i].address.data(), sizeof out.address.bytes);
        for (unsigned bit = 0; bit < rules[i].prefix_length; bit++)
            out.mask.bytes[bit / 8] |= static_cast<std::uint8_t>(1U << (7 - bit % 8));
        out.port_low = rules[i].port_lo;
        out.port_span = static_cast<std::uint16_t>(rules[i].port_hi - rules[i].port_lo);
        out.proto = static_cast<std::uint8_t>(rules[i].proto);
    }
    return block;
}

static_assert(policy::kMaxRulesPerDevice.value <= PENSTOCK_MAX_RULES, "a device's rules fit one block");

Refused malformed(const Error& error) { return {Refusal::malformed_policy, error.message()}; }

} // namespace

PolicyManager::PolicyManager(const Config& config, Worker& worker, EventLog& events, datapath::PolicyStore& store,
                             const datapath::Counters& counters)
    : config_(config), worker_(worker), events_(events), store_(store), counters_(counters) {}

PolicyManager::Last PolicyManager::read_last() const {
    const auto text = read_file(last_path(config_), 4096);
    if (!text)
        return {};
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (!json.is_object() || !json.contains("version") || !json["version"].is_number_unsigned() ||
        !json.contains("digest") || !json["digest"].is_string())
        return {};
    return {.version = json["version"].get<std::uint64_t>(), .digest = json["digest"].get<std::string>()};
}

PolicyManager::Verified PolicyManager::verify(const std::string& bundle, bool keep_expired) const {
    auto text = read_file(config_.root, policy::kMaxRootBytes.value);
    if (!text)
        return tl::unexpected(malformed(text.error()));
    auto root = policy::load_root(*text);
    if (!root)
        return tl::unexpected(malformed(std::move(root.error()).with(config_.root.string())));
    const auto last = read_last();
    auto verified = policy::verify(bundle, *root,
                                   {.gateway = config_.gateway,
                                    .last_version = last.version,
                                    .last_digest = last.digest,
                                    .now = policy::now(),
                                    .keep_expired = keep_expired});
    if (!verified)
        return tl::unexpected(verified.error());
    auto candidate = std::make_shared<Candidate>();
    candidate->verified = std::move(*verified);
    if (auto ok = fill_tables(*candidate); !ok)
        return tl::unexpected(malformed(ok.error()));
    return candidate;
}

Status PolicyManager::fill_tables(Candidate& candidate) const {
    const auto& policy = candidate.verified.policy;
    const auto compiled = policy::compile(policy);
    if (compiled.devices.size() > config_.device_capacity)
        return fail("the policy has " + std::to_string(compiled.devices.size()) + " devices, but [policy] devices in " +
                    config_.file.string() + " allows " + std::to_string(config_.device_capacity) +
                    "; raise it and restart");
    // A device keeps its slot, and with it counters and flows.
    std::map<MacAddress, std::uint32_t> slots;
    std::set<std::uint32_t> taken;
    for (const auto& [mac, slot] : store_.slots())
        if (slot < config_.device_capacity && taken.insert(slot).second)
            slots[mac] = slot;
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < compiled.devices.size(); i++) {
        const auto& device = compiled.devices[i];
        auto found = slots.find(device.mac);
        if (found == slots.end()) {
            // Slots of devices that this policy drops are taken once more only when no other is free.
            while (next < config_.device_capacity && taken.contains(next))
                next++;
            if (next == config_.device_capacity) {
                taken.clear();
                for (const auto& other : compiled.devices)
                    if (const auto kept = slots.find(other.mac); kept != slots.end())
                        taken.insert(kept->second);
                for (next = 0; taken.contains(next); next++) {
                }
            }
            taken.insert(next);
            candidate.new_slots.push_back(next);
            found = slots.emplace(device.mac, next).first;
        }
        candidate.tables.devices.push_back(
            {.mac = device.mac, .addresses = device.addresses, .slot = found->second, .block = device.block});
        Device shown{.name = device.name,
                     .mac = device.mac.str(),
                     .addresses = {},
                     .group = policy.groups[policy.devices[i].group].name,
                     .slot = found->second};
        for (const auto& address : device.addresses)
            shown.addresses.push_back(address.str());
        candidate.devices.push_back(std::move(shown));
    }
    for (const auto& rules : compiled.blocks)
        candidate.tables.blocks.push_back(abi_block(rules));
    return {};
}

Status PolicyManager::stage(const Candidate& candidate) const {
    for (const auto slot : candidate.new_slots)
        if (auto ok = counters_.clear(slot); !ok)
            return ok;
    return store_.stage(candidate.tables);
}

Status PolicyManager::store(const std::string& bundle, const Candidate& candidate) const {
    // The bundle first: after a crash in between it is newer than the last version known, and loads. load_stored() then
    // catches up.
    if (auto ok = write_file_atomically(bundle_path(config_), bundle); !ok)
        return ok;
    return store_last(candidate);
}

Status PolicyManager::store_last(const Candidate& candidate) const {
    const nlohmann::json last = {{"version", candidate.verified.policy.version}, {"digest", candidate.verified.digest}};
    return write_file_atomically(last_path(config_), last.dump() + "\n");
}

void PolicyManager::take(std::shared_ptr<Candidate> candidate) {
    in_force_ = std::move(candidate);
    expired_ = false;
    locked_ = false;
    const auto& policy = in_force_->verified.policy;
    events_.add(log::Level::info, "policy_in_force",
                {{"fleet", policy.fleet},
                 {"version", policy.version},
                 {"expires", policy::format_time(policy.expires)},
                 {"devices", policy.devices.size()},
                 {"generation", store_.generation()}});
}

Status PolicyManager::load_stored() {
    const auto bundle = read_file(bundle_path(config_), policy::kMaxEnvelopeBytes.value);
    const auto refuse = [this](const std::string& name, const std::string& why) -> Status {
        // What cannot be verified again is not in force, whatever the kernel still holds of it.
        events_.add(log::Level::error, "stored_policy_refused", {{"refusal", name}, {"why", why}});
        return store_.lock();
    };
    if (!bundle) {
        if (bundle.error().code() != ENOENT)
            return refuse("unreadable", bundle.error().message());
        events_.add(log::Level::warning, "no_policy", {{"mend", "push one: penstock push FILE"}});
        return store_.generation() ? store_.lock() : Status{};
    }
    auto candidate = verify(*bundle, true);
    if (!candidate)
        return refuse(std::string(policy::refusal_name(candidate.error().refusal)), candidate.error().message);
    if (auto ok = stage(**candidate); !ok)
        return ok;
    if (auto ok = store_.commit(); !ok)
        return ok;
    take(*candidate);
    check_expiry();
    return store_last(**candidate);
}

void PolicyManager::push(std::string bundle, bool dry_run, std::function<void(PushAnswer)> done) {
    struct Job {
        std::string bundle;
        bool dry_run;
        std::function<void(PushAnswer)> done;
        Verified result = tl::unexpected(Refused{});
        Status status;
    };
    auto job = std::make_shared<Job>(Job{std::move(bundle), dry_run, std::move(done)});
    // After a lock the same version may be put back in force.
    const bool again = locked_ || !in_force_;
    const auto work = [this, job, again] {
        job->result = verify(job->bundle, false);
        if (!job->result || job->dry_run || ((*job->result)->verified.already_in_force && !again))
            return;
        job->status = stage(**job->result);
        if (job->status)
            job->status = store(job->bundle, **job->result);
        if (job->status)
            job->status = store_.commit();
    };
    worker_.post(work, [this, job, again] {
        if (!job->result) {
            const auto name = std::string(policy::refusal_name(job->result.error().refusal));
            events_.add(log::Level::warning, "bundle_refused",
                        {{"refusal", name}, {"why", job->result.error().message}});
            return job->done({fail(job->result.error().message), name, ""});
        }
        const auto& verified = (*job->result)->verified;
        const auto title = verified.policy.title();
        if (verified.already_in_force && !again)
            return job->done({{}, "", title + " is already in force"});
        if (job->dry_run)
            return job->done({{}, "", title + " would be accepted"});
        if (!job->status) {
            events_.add(log::Level::error, "bundle_failed", {{"why", job->status.error().message()}});
            return job->done({job->status, "", ""});
        }
        take(*job->result);
        job->done({{}, "", title + " is in force"});
    });
}

void PolicyManager::check_expiry() {
    if (!in_force_ || expired_ || policy::now() < in_force_->verified.policy.expires)
        return;
    expired_ = true;
    events_.add(log::Level::error, "policy_expired",
                {{"version", in_force_->verified.policy.version},
                 {"expired", policy::format_time(in_force_->verified.policy.expires)},
                 {"effect", config_.lock_on_expiry ? "everything is refused" : "kept in force"},
                 {"mend", "push a newer bundle"}});
    if (config_.lock_on_expiry)
        lock();
}

void PolicyManager::lock() {
    locked_ = true;
    auto status = std::make_shared<Status>();
    worker_.post([this, status] { *status = store_.lock(); },
                 [this, status] {
                     if (!*status)
                         events_.add(log::Level::error, "lock_failed", {{"why", status->error().message()}});
                 });
}

const std::vector<PolicyManager::Device>& PolicyManager::devices() const {
    static const std::vector<Device> kNone;
    return in_force_ ? in_force_->devices : kNone;
}

std::string PolicyManager::device_name(std::uint32_t slot) const {
    const auto found = std::ranges::find(devices(), slot, &Device::slot);
    return found == devices().end() ? "" : found->name;
}

} // namespace penstock::core
