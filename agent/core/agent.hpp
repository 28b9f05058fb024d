// The agent: builds the parts, connects what one tells to what another does, and answers requests.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/worker.hpp"
#include "agent/core/audit.hpp"
#include "agent/core/config.hpp"
#include "agent/core/event_log.hpp"
#include "agent/core/guard.hpp"
#include "agent/core/ike_supervisor.hpp"
#include "agent/core/ipsec.hpp"
#include "agent/core/policy_manager.hpp"
#include "agent/core/privacy.hpp"
#include "agent/core/requests.hpp"
#include "agent/datapath/drop_events.hpp"
#include "agent/net/monitor.hpp"
#include "agent/net/xfrm.hpp"
#include "agent/store/sealed_folder.hpp"

#include <memory>
#include <optional>
#include <set>
#include <string>

namespace penstock::core {

class Agent final : public Requests {
public:
    Agent(Config config, EventLoop& loop, Privacy privacy);
    ~Agent() override;

    // Closes the gate, puts the stored policy in force, then starts IKE; in this order, so that half a start is a
    // closed gate. Files that are missing or wrong are said and tried again: the gate must be closed without them too.
    Status start();
    // Takes over what can change while it runs (certificates, keys, CAs; the root document is read at each use), and
    // says what else in the file has changed and needs a restart. What is no good changes nothing.
    void reload();

    void handle(const nlohmann::json& request, Body body, std::shared_ptr<Answer> answer) override;

private:
    Status close_gate();
    void open_state();
    void say_state();
    void take_privacy_key();
    Status begin();
    Status choose_esp();
    Status watch();
    void network_changed();
    void xfrm_changed();
    void find_lost_sas();
    void reconcile();
    void look_again(); // unless it has just been done
    void look_at_uplinks();
    void reconcile_soon();
    void tick();
    void watch_push();
    void renew_credentials();
    void refuse_reload(const std::string& why);
    void dropped(const datapath::Drop& drop);

    // requests.cpp
    nlohmann::json answer_now(const nlohmann::json& request, const Answer& asker);
    void reveal(const nlohmann::json& request, Body body, const std::shared_ptr<Answer>& answer);
    void carry_out(const nlohmann::json& request, Body body, const std::shared_ptr<Answer>& answer);
    void push(const nlohmann::json& request, Body bundle, const std::shared_ptr<Answer>& answer);
    void answer_audit(const nlohmann::json& request, const std::shared_ptr<Answer>& answer);
    void stream_events(const nlohmann::json& request, const std::shared_ptr<Answer>& answer);
    nlohmann::json tunnel_action(const nlohmann::json& request, const Answer& asker);
    nlohmann::json explain(const nlohmann::json& request) const;
    nlohmann::json guard_action(const nlohmann::json& request, const Answer& asker);
    // status.cpp
    [[nodiscard]] nlohmann::json status() const;
    [[nodiscard]] nlohmann::json guard_status() const;
    [[nodiscard]] nlohmann::json witness_status() const;
    [[nodiscard]] nlohmann::json tunnels() const;
    [[nodiscard]] std::string trouble(const TunnelState& tunnel) const;
    [[nodiscard]] nlohmann::json devices() const;
    [[nodiscard]] nlohmann::json policy_status() const;
    [[nodiscard]] std::vector<std::string> push_misses() const;
    [[nodiscard]] std::optional<PushWatch::Traffic> traffic(const std::string& device) const;
    [[nodiscard]] nlohmann::json root_status() const;
    [[nodiscard]] nlohmann::json state_status() const;

    const Config config_;
    EventLoop& loop_;
    Privacy privacy_;
    EventLog events_{&privacy_, config_.keep_events};
    Repairs repairs_{events_};
    store::SealedFolder state_;
    std::string state_problem_; // empty: it is open
    std::unique_ptr<Worker> worker_;
    std::unique_ptr<Audit> audit_;
    std::unique_ptr<Guard> guard_;
    std::unique_ptr<Ipsec> ipsec_;
    std::unique_ptr<PolicyManager> policies_;
    std::unique_ptr<IkeSupervisor> ike_;
    std::optional<datapath::DropEvents> drop_events_;
    std::optional<net::Monitor> monitor_;
    std::optional<net::XfrmMonitor> xfrm_;
    EventSource drop_source_, monitor_source_, xfrm_source_, tick_, soon_;
    std::optional<PushWatch> push_watch_;
    std::set<std::string> enslaved_; // uplinks that were ports of something when we last looked
    bool released_ = false;          // by an operator, until the next start
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point looked_at_; // by reconcile()
};

} // namespace penstock::core
