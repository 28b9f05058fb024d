// Answers penstock-ike. Every SA and policy it asks for is compared with the configuration before the kernel or the
// gate hears of it, so that a hijacked IKE process can neither open the gate nor install anything but AEAD ESP to a
// configured peer.
#pragma once

#include "agent/core/config.hpp"
#include "agent/core/event_log.hpp"
#include "agent/core/ike_check.hpp"
#include "agent/core/repairs.hpp"
#include "agent/datapath/gate.hpp"
#include "agent/ike/server.hpp"
#include "agent/net/xfrm.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace penstock::core {

// One direction of a CHILD_SA.
struct InstalledSa {
    std::uint32_t tunnel = 0; // index of Config::tunnels; the reqid is one more
    IpAddress source, destination;
    std::uint32_t spi = 0; // host byte order
    bool inbound = false;
    std::string cipher;
    std::chrono::steady_clock::time_point since;
    bool orphan = false;   // of an IKE process that is gone; carries traffic until its successor has its own
    bool retiring = false; // deleted; packets on their way may still carry its SPI
};

class Ipsec final : public IkeRequests {
public:
    // changed: an outbound SA came or went, routes want another look.
    Ipsec(const Config& config, const datapath::Marks& marks, EventLog& events, datapath::Gate& gate,
          std::function<void()> changed);

    // user_esp: the SAs live in penstock-ike, the kernel holds none.
    void set_mode(bool user_esp) { user_esp_ = user_esp; }
    [[nodiscard]] bool user_esp() const { return user_esp_; }

    // Whatever of ours the kernel holds from before: taken over, kept until a successor comes; deleted if the
    // configuration has no such tunnel any more.
    Status adopt();
    // The IKE process is gone. Kernel SAs stay and become orphans; userspace ones went with it.
    void ike_gone();
    // Lets SAs go whose time has come. Call about once a second.
    void sweep();
    // The kernel let an SA expire; hard: it is gone.
    void expired(const net::SaId& id, bool hard);
    // SAs that somebody else took out of the kernel since the last call; forgotten here. What somebody else put there
    // with a reqid of ours is deleted.
    std::vector<net::SaId> lost(Repairs& repairs);
    // Puts back policies of the tunnels that somebody took out of the kernel.
    void mend(Repairs& repairs);
    // Ends a tunnel whatever the IKE process does: its SAs are deleted. For a peer that does not answer.
    void drop_tunnel(std::uint32_t tunnel);
    // A tunnel that the operator took down gets no SA, whoever initiates.
    void allow_tunnel(std::uint32_t tunnel, bool allowed);

    [[nodiscard]] const std::vector<InstalledSa>& sas() const { return sas_; }
    [[nodiscard]] bool tunnel_up(std::uint32_t tunnel) const;
    // Every address that an uplink has now; an SA's near end must be one of them.
    void set_local_addresses(std::set<IpAddress> addresses) { check_.set_local_addresses(std::move(addresses)); }

    // IkeRequests
    IkeSpi get_spi(const pike_get_spi& request) override;
    pike_status add_sa(const pike_add_sa& request) override;
    pike_status approve_sa(const pike_add_sa& request) override;
    pike_status update_sa(const pike_update_sa& request) override;
    pike_status del_sa(const pike_sa_id& id) override;
    IkeUsage query_sa(const pike_sa_id& id) override;
    pike_status add_policy(const pike_policy& request) override;
    pike_status del_policy(const pike_policy& request) override;
    IkeUsage query_policy(const pike_policy& request) override;
    pike_status flush_sas() override;
    pike_status flush_policies() override;
    pike_status bypass_socket(Fd socket, int family) override;

private:
    using Clock = std::chrono::steady_clock;
    // A packet encrypted just before its SA went is still on its way to the uplink's hook.
    static constexpr auto kLinger = std::chrono::seconds(2);
    struct Policy {
        net::SecurityPolicy policy;
        unsigned uses = 0; // CHILD_SAs of the running IKE process; 0: left over from another one
    };

    static net::SaId sa_id(const pike_sa_id& id);
    [[nodiscard]] std::optional<std::uint32_t> tunnel_of(const net::SaStatus& sa) const;
    void delete_foreign(const std::vector<net::SaStatus>& present, Repairs& repairs);
    Status adopt_sas();
    Status adopt_policies();
    pike_status refuse(std::string_view what, const std::string& why);
    std::vector<InstalledSa>::iterator find(const net::SaId& id);
    Status tell_gate(const net::SaId& id, std::uint32_t tunnel);
    Status install(const pike_add_sa& request, std::uint32_t tunnel);
    void note_sa(const pike_add_sa& request, std::uint32_t tunnel);
    void remember_orphan(const net::SaStatus& sa, std::uint32_t tunnel);
    void forget(std::size_t index); // removes sas_[index] everywhere
    void retire_orphans(std::uint32_t tunnel);
    void update_tunnel(std::uint32_t tunnel);

    const Config& config_;
    const datapath::Marks marks_;
    EventLog& events_;
    datapath::Gate& gate_;
    std::function<void()> changed_;
    bool user_esp_ = false;
    std::vector<InstalledSa> sas_;
    std::set<std::uint32_t> forbidden_;      // tunnels taken down
    std::map<std::string, Policy> policies_; // by direction and selector
    IkeCheck check_;
    std::set<net::SaId> reserved_; // SPIs that get_spi() gave and nobody used yet
    std::string last_refusal_;
    std::chrono::steady_clock::time_point last_refusal_time_;
    std::vector<std::pair<std::chrono::steady_clock::time_point, net::SaId>> leaving_;
};

} // namespace penstock::core
