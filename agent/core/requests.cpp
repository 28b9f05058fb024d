// What the agent does when asked: the operations of the control socket.
#include "agent/core/agent.hpp"

#include "policy/oracle.hpp"

#include <algorithm>
#include <set>

namespace penstock::core {
namespace {

constexpr std::size_t kMaxAuditRecords = 1000; // in one answer

nlohmann::json refused(const std::string& why) { return {{"ok", false}, {"error", why}}; }

std::string text(const nlohmann::json& request, const char* key) {
    const auto found = request.find(key);
    return found != request.end() && found->is_string() ? found->get<std::string>() : "";
}

bool flag(const nlohmann::json& request, const char* key) {
    const auto found = request.find(key);
    return found != request.end() && found->is_boolean() && found->get<bool>();
}

// wait_healthy: seconds; probe: names of devices.
Result<PolicyManager::PushOptions> push_options(const nlohmann::json& request, Asker by) {
    PolicyManager::PushOptions out{.dry_run = flag(request, "dry_run"), .by = std::move(by)};
    if (const auto wait = request.find("wait_healthy"); wait != request.end()) {
        if (!wait->is_number_unsigned() || *wait < kShortestWait.count() || *wait > kLongestWait.count())
            return fail("wait_healthy is a number of seconds from " + std::to_string(kShortestWait.count()) + " to " +
                        std::to_string(kLongestWait.count()));
        out.wait = std::chrono::seconds(wait->get<unsigned>());
    }
    if (const auto probes = request.find("probe"); probes != request.end()) {
        if (!probes->is_array() || probes->size() > kMostProbes || out.wait.count() == 0)
            return fail("probe is a list of at most " + std::to_string(kMostProbes) +
                        " names of devices, and goes with wait_healthy");
        for (const auto& probe : *probes)
            out.probes.push_back(probe.is_string() ? probe.get<std::string>() : "");
    }
    return out;
}

nlohmann::json answer_to_push(const PolicyManager::PushAnswer& result) {
    nlohmann::json out = {{"ok", result.status.has_value()}};
    if (result.status)
        out["message"] = result.message;
    else
        out["error"] = result.status.error().message();
    if (!result.refusal.empty())
        out["refusal"] = result.refusal;
    if (result.version)
        out["version"] = *result.version;
    if (!result.changed.empty())
        out["changed"] = result.changed;
    if (result.changed_left_out != 0)
        out["changed_left_out"] = result.changed_left_out;
    for (const auto& step : result.took)
        out["took_ms"][step.name] = std::chrono::duration<double, std::milli>(step.took).count();
    if (result.waits_until)
        out["waits_until"] = policy::format_time(*result.waits_until);
    if (result.went_back)
        out["went_back"] = true;
    return out;
}

// The addresses that a question is about: an answer may name what its reader has named.
std::set<IpAddress> asked_about(const nlohmann::json& request) {
    std::set<IpAddress> out;
    if (text(request, "op") == "explain")
        for (const auto* key : {"device", "to", "from"})
            if (const auto address = IpAddress::parse(text(request, key)))
                out.insert(*address);
    return out;
}

// What it sends shows pseudonyms, but for what the request asks about.
class Veiled final : public Answer {
public:
    Veiled(std::shared_ptr<Answer> answer, const Privacy& privacy, const nlohmann::json& request)
        : answer_(std::move(answer)), privacy_(privacy), said_(asked_about(request)) {}
    void send(const nlohmann::json& message) override { answer_->send(privacy_.veil(message, said_)); }
    void finish() override { answer_->finish(); }
    void on_close(std::function<void()> callback) override { answer_->on_close(std::move(callback)); }
    [[nodiscard]] uid_t uid() const override { return answer_->uid(); }
    [[nodiscard]] Door door() const override { return answer_->door(); }

private:
    std::shared_ptr<Answer> answer_;
    const Privacy& privacy_;
    std::set<IpAddress> said_;
};

} // namespace

// Who pushes reads what is wrong with what they wrote, in its own words.
void Agent::handle(const nlohmann::json& request, Body body, std::shared_ptr<Answer> answer) {
    const auto op = text(request, "op");
    if (!may_ask(answer->door(), op)) {
        answer->send(refused("the API may not ask for \"" + op + "\""));
        return answer->finish();
    }
    if (privacy_.full() || op == "push")
        return carry_out(request, std::move(body), answer);
    if (flag(request, "reveal"))
        return reveal(request, std::move(body), answer);
    carry_out(request, std::move(body), std::make_shared<Veiled>(answer, privacy_, request));
}

// Only where it can be put on record.
void Agent::reveal(const nlohmann::json& request, Body body, const std::shared_ptr<Answer>& answer) {
    const auto op = text(request, "op");
    std::string why;
    if (op != "devices" && op != "events" && op != "audit")
        why = "devices, events and audit reveal identities, not \"" + op + "\"";
    else if (answer->door() != Door::control || !is_operator(answer->uid()))
        why = "only root and the group penstock may see identities; ask without --reveal";
    else if (const auto kept = audit_->will_keep(answer->uid()); !kept)
        why = "identities are not revealed, for it cannot be put on record: " + kept.error().message();
    if (!why.empty()) {
        answer->send(refused(why));
        return answer->finish();
    }
    events_.add(log::Level::info, "identities_revealed", {{"uid", answer->uid()}, {"in", op}});
    carry_out(request, std::move(body), answer);
}

void Agent::carry_out(const nlohmann::json& request, Body body, const std::shared_ptr<Answer>& answer) {
    const auto op = text(request, "op");
    if (op == "push")
        return push(request, std::move(body), answer);
    if (op == "events")
        return stream_events(request, answer);
    if (op == "audit")
        return answer_audit(request, answer);
    answer->send(answer_now(request, *answer));
    answer->finish();
}

nlohmann::json Agent::answer_now(const nlohmann::json& request, const Answer& asker) {
    const auto op = text(request, "op");
    if (op == "status" || op == "guard")
        look_again();
    if (op == "status")
        return status();
    if (op == "devices")
        return {{"ok", true}, {"devices", devices()}};
    if (op == "tunnels")
        return {{"ok", true}, {"tunnels", tunnels()}};
    if (op == "tunnel")
        return tunnel_action(request, asker);
    if (op == "explain")
        return explain(request);
    if (op == "guard")
        return guard_action(request, asker);
    return refused("unknown operation \"" + op + "\"");
}

void Agent::push(const nlohmann::json& request, Body bundle, const std::shared_ptr<Answer>& answer) {
    if (bundle.bytes.empty()) {
        answer->send(refused("push needs a bundle: {\"op\":\"push\",\"size\":BYTES} and then its bytes"));
        return answer->finish();
    }
    auto options = push_options(request, asker_of(answer->uid(), answer->door(), request));
    if (!options) {
        answer->send(refused(options.error().message()));
        return answer->finish();
    }
    policies_->push(std::move(bundle), std::move(*options), [answer](const PolicyManager::PushAnswer& result) {
        answer->send(answer_to_push(result));
        if (!result.waits_until)
            answer->finish();
    });
}

// The newest "last" records, each a message, oldest first, then what was found wrong with the whole log. "event" and
// "since" narrow the records down.
void Agent::answer_audit(const nlohmann::json& request, const std::shared_ptr<Answer>& answer) {
    if (answer->uid() != 0) {
        answer->send(refused("only root may read the audit log"));
        return answer->finish();
    }
    const auto last = request.find("last");
    const auto seq = request.find("expect_seq");
    const Audit::Wanted wanted{
        .last = last != request.end() && last->is_number_unsigned()
                    ? std::min(last->get<std::size_t>(), kMaxAuditRecords)
                    : 0,
        .event = text(request, "event"),
        .since = text(request, "since"),
        .expected = {.seq = seq != request.end() && seq->is_number_unsigned() ? seq->get<std::uint64_t>() : 0,
                     .hash = text(request, "expect_hash")}};
    audit_->read(wanted, [answer](const Audit::Read& read) {
        for (const auto& record : read.records)
            answer->send(record);
        if (!read.report) {
            answer->send(refused("the audit log cannot be read: " + read.report.error().message()));
            return answer->finish();
        }
        const auto& report = *read.report;
        nlohmann::json out = {{"ok", report.problems.empty()}, {"records", report.records},
                              {"first", report.first},         {"last", report.last},
                              {"hash", report.hash},           {"problems", report.problems}};
        if (!report.problems.empty())
            out["error"] = "the audit log is not whole: " + report.problems.front();
        answer->send(out);
        answer->finish();
    });
}

void Agent::stream_events(const nlohmann::json& request, const std::shared_ptr<Answer>& answer) {
    const auto recent = events_.recent();
    for (const auto& event : recent)
        answer->send(event);
    if (!flag(request, "follow")) {
        answer->send({{"ok", true}, {"events", recent.size()}});
        return answer->finish();
    }
    const auto id = events_.follow([answer](const nlohmann::json& event) { answer->send(event); });
    answer->on_close([this, id] { events_.unfollow(id); });
}

nlohmann::json Agent::tunnel_action(const nlohmann::json& request, const Answer& asker) {
    const auto name = text(request, "name"), action = text(request, "action");
    const auto found = std::ranges::find(config_.tunnels, name, &TunnelConfig::name);
    if (found == config_.tunnels.end()) {
        std::string known;
        for (const auto& tunnel : config_.tunnels)
            known += (known.empty() ? "" : ", ") + tunnel.name;
        return refused("there is no tunnel \"" + name + "\"; there is " + known);
    }
    const auto index = static_cast<std::uint32_t>(found - config_.tunnels.begin());
    Status done;
    if (action == "up")
        done = ike_->bring_up(index);
    else if (action == "down")
        done = ike_->take_down(index);
    else if (action == "rekey")
        done = ike_->rekey(index);
    else
        return refused("a tunnel can be taken up, down or rekeyed, not \"" + action + "\"");
    events_.add(log::Level::info, "tunnel_command", {{"tunnel", name}, {"action", action}, {"uid", asker.uid()}});
    if (!done)
        return refused(done.error().message());
    return {{"ok", true}, {"tunnel", name}, {"action", action}};
}

nlohmann::json Agent::explain(const nlohmann::json& request) const {
    const auto* policy = policies_->policy();
    if (policy == nullptr || policies_->locked())
        return {{"ok", true},
                {"allow", false},
                {"reason", "no_policy"},
                {"citation", policies_->locked()
                                 ? "everything is locked down (penstock events says why); push a newer bundle"
                                 : "no policy is in force; push a bundle"}};
    const auto port = request.find("port");
    const auto question = policy::read_question(
        text(request, "device"), text(request, "to"), text(request, "from"), text(request, "proto"),
        port != request.end() && port->is_number_unsigned() ? port->get<std::uint64_t>() : 0);
    if (!question)
        return refused(question.error().message());
    const auto verdict = policy::explain(*policies_->policy_with_learnt(), policy::now(), *question);
    if (!verdict)
        return refused(verdict.error().message());
    nlohmann::json out = {{"ok", true},
                          {"allow", verdict->allow},
                          {"reason", policy::reason_name(verdict->reason)},
                          {"citation", verdict->citation},
                          {"device", verdict->device},
                          {"service", verdict->service}};
    if (!verdict->allow || verdict->on_lan)
        return out;
    // The policy is not the whole gate: a tunnel must cover the other end, and be up.
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++)
        for (const auto& network : config_.tunnels[i].remote_networks)
            if (network.contains(question->other)) {
                out["tunnel"] = config_.tunnels[i].name;
                if (!ipsec_->tunnel_up(i)) {
                    out["allow"] = false;
                    out["reason"] = "tunnel_down";
                    out["citation"] = "tunnel " + config_.tunnels[i].name + " is down (" + verdict->citation + ")";
                }
                return out;
            }
    out["allow"] = false;
    out["reason"] = "no_tunnel";
    out["citation"] = "no tunnel of the configuration covers " + question->other.str() + " (" + verdict->citation + ")";
    return out;
}

nlohmann::json Agent::guard_action(const nlohmann::json& request, const Answer& asker) {
    const auto action = text(request, "action");
    if (action == "status")
        return {{"ok", true}, {"gate", guard_status()}};
    if (action != "release" && action != "clear-witness")
        return refused("the guard has status, release and clear-witness, not \"" + action + "\"");
    if (asker.uid() != 0)
        return refused("only root may do this to the guard");
    if (action == "clear-witness") {
        const auto seen = guard_->sighting();
        if (seen.empty())
            return refused("the witness saw no frame in clear");
        if (const auto cleared = guard_->clear_witness(); !cleared)
            return refused(cleared.error().message());
        events_.add(log::Level::warning, "witness_cleared", {{"uid", asker.uid()}, {"frame", seen}});
        reconcile();
        return {{"ok", true}};
    }
    const auto done = guard_->release();
    released_ = done.has_value(); // half a release is put back by the next reconcile
    if (!done)
        return refused(done.error().message());
    events_.add(log::Level::error, "guard_released",
                {{"uid", asker.uid()}, {"mend", "restart penstockd to close it again"}});
    return {{"ok", true}};
}

} // namespace penstock::core
