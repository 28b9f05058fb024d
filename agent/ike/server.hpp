// penstockd's end of the channel to penstock-ike: checks every datagram and hands it to whoever decides.
// The other end may be hijacked: what arrives here is a stranger's bytes until a handler has compared it with the
// configuration. Lengths, counts, families and text ends are checked here; meanings are not.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"
#include "agent/ike/channel.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct IkeSpi {
    pike_status status = PIKE_FAILED;
    std::uint32_t spi_be = 0;
};

struct IkeUsage {
    pike_status status = PIKE_FAILED;
    std::uint64_t bytes = 0;
    std::uint64_t packets = 0;
    std::int64_t use_time = 0; // seconds of CLOCK_MONOTONIC, 0: never used
};

// One method a request; the answer is the return value. penstock-ike waits for it (3 s at most): be quick.
// Arguments live for the call only; keys are wiped after it.
class IkeRequests {
public:
    virtual ~IkeRequests() = default;
    virtual IkeSpi get_spi(const pike_get_spi& request) = 0;
    virtual pike_status add_sa(const pike_add_sa& request) = 0;
    virtual pike_status approve_sa(const pike_add_sa& request) = 0; // userspace ESP: no key
    virtual pike_status update_sa(const pike_update_sa& request) = 0;
    virtual pike_status del_sa(const pike_sa_id& id) = 0;
    virtual IkeUsage query_sa(const pike_sa_id& id) = 0;
    virtual pike_status add_policy(const pike_policy& request) = 0;
    virtual pike_status del_policy(const pike_policy& request) = 0;
    virtual IkeUsage query_policy(const pike_policy& request) = 0;
    virtual pike_status flush_sas() = 0;
    virtual pike_status flush_policies() = 0;
    virtual pike_status bypass_socket(Fd socket, int family) = 0;
};

// What penstock-ike tells. Texts are terminated.
class IkeEvents {
public:
    virtual ~IkeEvents() = default;
    virtual void hello(const pike_hello& event, Fd tun) = 0; // tun: whatever descriptor came with it, if any
    virtual void log_line(const pike_log& event) = 0;
    virtual void tunnel_event(const pike_tunnel_event& event) = 0;
    virtual void alert(const pike_alert& event) = 0;
    virtual void alive() = 0;
};

struct IkeCredential {
    pike_credential_kind kind;
    int fd; // a regular file opened for reading; stays the caller's
};

struct IkeTunnel {
    std::string name;
    IpAddress peer;
    std::string local_id;
    std::string remote_id;
    std::vector<IpPrefix> local_networks;
    std::vector<IpPrefix> remote_networks;
    std::string ike_proposal;
    std::string esp_proposal;
    std::uint32_t reqid = 0;       // not 0, one a tunnel
    std::uint32_t ike_rekey = 0;   // seconds
    std::uint32_t child_rekey = 0; // seconds
    std::uint32_t dpd = 0;         // seconds
    std::uint32_t replay_window = 128;
    bool initiate = true;
    bool mobike = true;
};

struct IkeConfig {
    bool user_esp = false; // fixed for the life of the process
    int log_level = 1;
    std::vector<std::string> interfaces; // whose addresses IKE may use; empty: all
    std::vector<IkeCredential> credentials;
    std::vector<IkeTunnel> tunnels;
};

class IkeServer {
public:
    // The sockets of IkeProcess; both non-blocking. The handlers must outlive the server.
    IkeServer(Fd requests, Fd events, IkeRequests& requests_handler, IkeEvents& events_handler)
        : requests_(std::move(requests)), events_(std::move(events)), requests_handler_(requests_handler),
          events_handler_(events_handler) {}

    [[nodiscard]] int requests_fd() const { return requests_.get(); }
    [[nodiscard]] int events_fd() const { return events_.get(); }

    // Call when the descriptor is readable; serves at most `budget` datagrams. Errors: the peer is gone, or sent what
    // no penstock-ike sends. Either way end the process.
    Status serve_requests(int budget = 64);
    Status serve_events(int budget = 256);

    // Sends a whole configuration; the first one lets penstock-ike start, later ones replace what is in force:
    // unchanged tunnels stay up, changed and missing ones are closed.
    Status configure(const IkeConfig& config);

    Status command(pike_command_kind kind, std::string_view tunnel);
    Status acquire(std::uint32_t reqid);
    Status expire(const IpAddress& destination, std::uint32_t spi_be, bool hard);
    Status mapping(const pike_address& destination, const pike_address& remote, std::uint32_t spi_be);

private:
    Status answer(std::span<const std::byte> datagram, Fd passed);
    Status dispatch(std::span<std::byte> datagram, Fd passed);
    Status send_event(const void* message, std::size_t size, int fd = -1);

    Fd requests_;
    Fd events_;
    IkeRequests& requests_handler_;
    IkeEvents& events_handler_;
};

// Of the wire format, for handlers and logs.
pike_address to_pike(const IpAddress& address, std::uint16_t port = 0);
IpAddress from_pike(const pike_address& address);
std::string to_string(const pike_selector& selector); // "10.0.0.0-10.0.0.255", with protocol and ports if not any

} // namespace penstock
