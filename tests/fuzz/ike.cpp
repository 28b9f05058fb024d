// The channel from penstock-ike, which speaks with the internet and may have been taken over: datagrams of both
// sockets, each with a byte before it that says which and whether a descriptor comes along, and two of length.
#include "agent/ike/server.hpp"

#include "agent/core/ike_check.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <sys/socket.h>

using namespace penstock;

namespace {

core::Config configuration() {
    core::Config config;
    core::TunnelConfig tunnel;
    tunnel.name = "cloud";
    tunnel.peer = *IpAddress::parse("192.0.2.2");
    tunnel.local_networks = {*IpPrefix::parse("10.20.0.0/24"), *IpPrefix::parse("fd20::/64")};
    tunnel.remote_networks = {*IpPrefix::parse("203.0.113.0/24"), *IpPrefix::parse("2001:db8:203::/64")};
    config.tunnels.push_back(tunnel);
    return config;
}

// Decides as the agent does, and installs nothing.
class Judge final : public IkeRequests, public IkeEvents {
public:
    Judge() { check_.set_local_addresses({*IpAddress::parse("192.0.2.1")}); }

    IkeSpi get_spi(const pike_get_spi& request) override {
        (void)check_.ends(from_pike(request.source), from_pike(request.destination), true, 1);
        return {PIKE_OK, 1};
    }
    pike_status add_sa(const pike_add_sa& request) override {
        const auto tunnel = check_.sa(request);
        for (int i = 0; i < request.source_count + request.destination_count; i++)
            (void)to_string(request.selectors[i]);
        fuzz::require(!tunnel || core::find_aead(request.encryption) != nullptr, "an SA has an AEAD cipher");
        return tunnel ? PIKE_OK : PIKE_FAILED;
    }
    pike_status approve_sa(const pike_add_sa& request) override { return add_sa(request); }
    pike_status update_sa(const pike_update_sa& request) override {
        (void)check_.ends(from_pike(request.new_source), from_pike(request.new_destination), false, request.new_reqid);
        return PIKE_FAILED;
    }
    pike_status del_sa(const pike_sa_id& id) override { return known(id); }
    IkeUsage query_sa(const pike_sa_id& id) override { return {known(id)}; }
    pike_status add_policy(const pike_policy& request) override {
        return check_.policy(request) ? PIKE_OK : PIKE_FAILED;
    }
    pike_status del_policy(const pike_policy& request) override { return add_policy(request); }
    IkeUsage query_policy(const pike_policy& request) override { return {add_policy(request)}; }
    pike_status flush_sas() override { return PIKE_OK; }
    pike_status flush_policies() override { return PIKE_OK; }
    pike_status bypass_socket(Fd socket, int) override { return socket ? PIKE_OK : PIKE_FAILED; }
    void hello(const pike_hello& event) override { length_ += std::strlen(event.tun) + std::strlen(event.strongswan); }
    void log_line(const pike_log& event) override { length_ += std::strlen(event.group) + std::strlen(event.text); }
    void tunnel_event(const pike_tunnel_event& event) override {
        length_ += std::strlen(event.tunnel) + std::strlen(event.cipher);
    }
    void alert(const pike_alert& event) override { length_ += std::strlen(event.tunnel) + std::strlen(event.text); }
    void alive() override {}

private:
    static pike_status known(const pike_sa_id& id) {
        return from_pike(id.source) == from_pike(id.destination) ? PIKE_OK : PIKE_NOT_FOUND;
    }
    core::Config config_ = configuration();
    core::IkeCheck check_{config_};
    std::size_t length_ = 0;
};

void send(const Fd& socket, std::span<const std::uint8_t> bytes, bool with_descriptor) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec io{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    if (with_descriptor) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        auto* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        const int fd = socket.get();
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    (void)!sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::array<int, 2> requests{}, events{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, requests.data()) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events.data()) != 0)
        return 0;
    static Judge judge;
    IkeServer server(Fd(requests[0]), Fd(events[0]), judge, judge);
    const Fd ike_requests(requests[1]), ike_events(events[1]);
    std::span<const std::uint8_t> rest(data, size);
    for (bool alive = true; alive && rest.size() > 3;) {
        const auto head = rest.first(3);
        rest = rest.subspan(3);
        const auto datagram = rest.first(std::min<std::size_t>(rest.size(), head[1] | head[2] << 8));
        rest = rest.subspan(datagram.size());
        const bool is_event = (head[0] & 1) != 0;
        send(is_event ? ike_events : ike_requests, datagram, (head[0] & 2) != 0);
        alive = (is_event ? server.serve_events() : server.serve_requests()).has_value();
        std::array<char, sizeof(pike_answer)> answer{};
        (void)!recv(ike_requests.get(), answer.data(), answer.size(), MSG_DONTWAIT);
    }
    return 0;
}
