// Keeps penstock-ike running: starts it, feeds it the configuration, watches what it tells, starts it again when it
// dies.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/file_watch.hpp"
#include "agent/core/config.hpp"
#include "agent/core/credentials.hpp"
#include "agent/core/event_log.hpp"
#include "agent/core/ipsec.hpp"
#include "agent/ike/launch.hpp"
#include "agent/ike/server.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace penstock::core {

// What IKE says of a tunnel; whether the gate lets traffic in is Ipsec's word.
struct TunnelState {
    std::string ike = "down"; // down, connecting, up
    std::string cipher;
    std::uint32_t spi_in = 0, spi_out = 0; // host byte order, of the newest CHILD_SA
    std::optional<std::chrono::steady_clock::time_point> since, rekey_at;
    bool encapsulated = false;
    std::string trouble;        // the alerts of the last attempt, in words and in order
    bool new_attempt = false;   // none of its alerts came yet
    std::set<std::string> said; // alerts that are events already, since it was up; 64 at most
    bool taken_down = false;
};

class IkeSupervisor final : public IkeEvents {
public:
    struct Callbacks {
        std::function<void(const Fd& tun)> ready; // its sockets are bound; the TUN it has, if any
        std::function<void()> gone;
    };
    IkeSupervisor(const Config& config, EventLoop& loop, EventLog& events, Ipsec& ipsec, Callbacks callbacks);

    // What can be found out without starting it: user and program.
    static Status check(const Config& config);
    // If it cannot be started, trouble() says why, and it is tried again every few seconds.
    void start();
    // A new process in place of this one; with ESP in the kernel the SAs go on.
    void restart(const std::string& why);
    // Certificates, key and CAs anew. If they are no good those in use stay.
    Status reload();
    // Ends it if it runs and has not said for a while that it is alive; its exit brings the next one.
    void check_alive();
    // They are other files than those that were last read, and nobody is writing them any more.
    bool credentials_changed() { return watch_.changed(); }

    Status bring_up(std::uint32_t tunnel);
    Status take_down(std::uint32_t tunnel);
    Status rekey(std::uint32_t tunnel);
    Status acquire(std::uint32_t reqid);
    Status expire(const IpAddress& destination, std::uint32_t spi, bool hard);
    Status mapping(const net::Mapping& mapping);

    [[nodiscard]] const std::vector<TunnelState>& tunnels() const { return tunnels_; }
    [[nodiscard]] const std::string& trouble() const { return trouble_; } // why it does not run; empty if it does
    [[nodiscard]] std::vector<std::string> date_problems() const;         // certificates expired or not yet valid
    [[nodiscard]] pid_t pid() const { return process_ ? process_->pid() : 0; }
    [[nodiscard]] const std::string& version() const { return version_; }

    // IkeEvents
    void hello(const pike_hello& event, Fd tun) override;
    void log_line(const pike_log& event) override;
    void tunnel_event(const pike_tunnel_event& event) override;
    void alert(const pike_alert& event) override;
    void alive() override { alive_at_ = std::chrono::steady_clock::now(); }

private:
    Status spawn();
    Status look_at_credentials();
    Status configure();
    void died(const std::string& how);
    void start_later();
    void serve(Status (IkeServer::*what)(int), int budget);
    Status command(pike_command_kind kind, std::uint32_t tunnel);
    TunnelState* find(const char* name);

    const Config& config_;
    EventLoop& loop_;
    EventLog& events_;
    Ipsec& ipsec_;
    Callbacks callbacks_;
    std::optional<IkeProcess> process_;
    std::optional<IkeServer> server_;
    EventSource child_, requests_, events_source_, restart_;
    std::chrono::milliseconds backoff_{0};
    std::chrono::steady_clock::time_point started_, alive_at_;
    std::vector<TunnelState> tunnels_;
    Credentials credentials_;
    FileWatch watch_; // certificate, private key and CAs
    std::string version_, trouble_;
    bool greeted_ = false; // by the hello of the running process
    std::chrono::steady_clock::time_point alerts_since_;
    unsigned alerts_ = 0; // since then
};

} // namespace penstock::core
