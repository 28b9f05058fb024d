// The gate as a whole: programs on every interface, routes and rules, XFRM's own blocks, and forwarding only while all
// of them stand. Compares with the kernel whenever something changed, and puts back what is missing.
#pragma once

#include "agent/core/carriers.hpp"
#include "agent/core/config.hpp"
#include "agent/core/essentials.hpp"
#include "agent/core/event_log.hpp"
#include "agent/core/repairs.hpp"
#include "agent/core/routing.hpp"
#include "agent/datapath/counters.hpp"
#include "agent/datapath/early_drop.hpp"
#include "agent/datapath/gate.hpp"
#include "agent/datapath/hooks.hpp"
#include "agent/datapath/policy_store.hpp"
#include "agent/datapath/programs.hpp"
#include "agent/datapath/witness.hpp"
#include "agent/store/sealed_folder.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace penstock::core {

class Guard {
public:
    // Loads the programs and adopts the pinned maps. Nothing is attached yet. An error if another process has done so
    // and lives.
    static Result<std::unique_ptr<Guard>> make(const Config& config, EventLog& events, Repairs& repairs,
                                               store::SealedFolder& folder);

    // Which ESP, and the TUN it comes out of: a descriptor of it, for a name can be anybody's.
    Status set_esp(bool user_esp, const Fd& tun = {});
    // Puts every layer into place; if one does not stand, nothing is forwarded. Returns what is wrong first.
    Status arm();
    // The same and, if they all stand, lets the LAN forward.
    Status reconcile();
    // Forgets what the witness saw, on disk too. Forwarding is up to the next reconcile().
    Status clear_witness();
    // Takes the guard away: the one way to do so short of purging.
    Status release();

    struct Interface {
        std::string name;
        std::string role; // lan, lan port, uplink, carrier, tunnel, other
        bool guarded = false;
        std::string early_drop = {};           // of a LAN: "on", or why not
        std::vector<std::string> carries = {}; // uplinks that stand on it
    };
    [[nodiscard]] const std::vector<Interface>& interfaces() const { return interfaces_; }
    [[nodiscard]] bool closed() const { return problem_.empty(); }
    [[nodiscard]] const std::string& problem() const { return problem_; }
    [[nodiscard]] const char* mechanism() const { return hooks_.mechanism(); }
    [[nodiscard]] std::set<IpAddress> uplink_addresses() const;
    // Uplinks that are ports of a bridge or bond now.
    [[nodiscard]] std::set<std::string> enslaved_uplinks() const;

    datapath::Gate& gate() { return gate_; }
    datapath::PolicyStore& policies() { return policies_; }
    const datapath::Counters& counters() const { return counters_; }
    [[nodiscard]] const std::vector<EssentialState>& essentials() const { return essentials_; }
    const datapath::Witness& witness() const { return witness_; }
    // Why there is no witness although the kernel could run one; empty if there is.
    [[nodiscard]] const std::string& witness_problem() const { return witness_problem_; }
    // What the witness saw first, in words; empty if nothing.
    [[nodiscard]] std::string sighting() const;
    const datapath::Programs& programs() const { return programs_; }
    const datapath::Marks& marks() const { return marks_; }

private:
    Guard(const Config& config, EventLog& events, Repairs& repairs, store::SealedFolder& folder, Fd lock,
          datapath::Programs programs, datapath::Hooks hooks, datapath::Gate gate, datapath::PolicyStore policies,
          datapath::Counters counters, datapath::Witness witness, datapath::Marks marks)
        : config_(config), events_(events), repairs_(repairs), folder_(folder), lock_(std::move(lock)),
          programs_(std::move(programs)), hooks_(std::move(hooks)), early_drop_(programs_, config.bpffs),
          gate_(std::move(gate)), policies_(std::move(policies)), counters_(std::move(counters)),
          witness_(std::move(witness)), marks_(marks) {}

    Status put_up(bool then_forward);
    Status put_up_layers();
    Status remember_sighting();
    void keep_sighting();
    Status look_out(bool layers_stand);
    void tell_addresses();
    Status tell_gate();
    Status tell_essentials();
    [[nodiscard]] datapath::Gate::Flags flags() const;
    Status apply_xfrm();
    Status tell_mtu();
    Status forward(bool on);
    [[nodiscard]] std::set<IpPrefix> lan_networks() const;
    [[nodiscard]] std::set<IpPrefix> guarded_networks() const;
    // guard_witness.cpp
    Status put_up_witness(bool layers_stand);
    void attach_witness();
    // guard_links.cpp
    Status attach_all();
    Status guard_link(const net::Link& link, Interface& shown, Repairs::Look& look);
    std::string keep_early_drop(const net::Link& link);
    Status keep_hook(const net::Link& link, datapath::Hook hook, Repairs::Look& look);
    [[nodiscard]] datapath::Hooks::State hook_state(datapath::Hook hook, int ifindex) const;
    Status keep_pins();
    [[nodiscard]] std::vector<TunnelPath> tunnel_paths() const;
    [[nodiscard]] bool is_tunnel(const net::Link& link) const;
    [[nodiscard]] const net::Link* tunnel_link() const; // the TUN of userspace ESP, nullptr if there is none
    [[nodiscard]] bool is_lan(const std::string& name) const;
    [[nodiscard]] bool is_lan_port(const net::Link& link) const;
    [[nodiscard]] bool is_uplink(const std::string& name) const;

    const Config& config_;
    EventLog& events_;
    Repairs& repairs_;
    store::SealedFolder& folder_; // for what the witness saw
    Fd lock_;                     // one guard a folder of pins
    datapath::Programs programs_;
    datapath::Hooks hooks_;
    datapath::EarlyDrop early_drop_;
    std::map<int, std::string> no_early_drop_; // by interface: why its driver was not asked again
    datapath::Gate gate_;
    datapath::PolicyStore policies_;
    datapath::Counters counters_;
    datapath::Witness witness_;
    datapath::Marks marks_;
    NetworkView network_;
    Carriers carriers_;
    std::vector<Interface> interfaces_;
    std::vector<EssentialState> essentials_;
    int tun_ = 0; // ifindex of that TUN
    bool user_esp_ = false;
    bool replace_programs_ = true; // until each stands once: a predecessor's may look right and be of another version
    std::string problem_ = "not armed yet";
    std::string witness_problem_;
    std::string address_problem_;
    bool latch_told_ = false;
    std::string kept_sighting_;                                        // what is in the file
    std::optional<std::chrono::steady_clock::time_point> stood_since_; // all layers, without a break
};

} // namespace penstock::core
