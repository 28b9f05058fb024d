// penstockd's end of the channel against a penstock-ike that means harm.
#include "agent/ike/server.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/socket.h>

using namespace penstock;

namespace {

struct Refuse final : IkeRequests, IkeEvents {
    int sockets = 0;
    IkeSpi get_spi(const pike_get_spi&) override { return {}; }
    pike_status add_sa(const pike_add_sa&) override { return PIKE_FAILED; }
    pike_status approve_sa(const pike_add_sa&) override { return PIKE_FAILED; }
    pike_status update_sa(const pike_update_sa&) override { return PIKE_FAILED; }
    pike_status del_sa(const pike_sa_id&) override { return PIKE_FAILED; }
    IkeUsage query_sa(const pike_sa_id&) override { return {}; }
    pike_status add_policy(const pike_policy&) override { return PIKE_FAILED; }
    pike_status del_policy(const pike_policy&) override { return PIKE_FAILED; }
    IkeUsage query_policy(const pike_policy&) override { return {}; }
    pike_status flush_sas() override { return PIKE_FAILED; }
    pike_status flush_policies() override { return PIKE_FAILED; }
    pike_status bypass_socket(Fd socket, int) override {
        sockets += socket ? 1 : 0;
        return PIKE_OK;
    }
    void hello(const pike_hello&, Fd) override {}
    void log_line(const pike_log&) override {}
    void tunnel_event(const pike_tunnel_event&) override {}
    void alert(const pike_alert&) override {}
    void alive() override {}
};

struct Channel {
    std::array<int, 2> requests{}, events{};
    Fd peer, peer_events;
    Refuse handler;
    std::optional<IkeServer> server;

    Channel() {
        BOOST_REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, requests.data()) == 0);
        BOOST_REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events.data()) == 0);
        server.emplace(Fd(requests[0]), Fd(events[0]), handler, handler);
        peer = Fd(requests[1]);
        peer_events = Fd(events[1]);
    }

    template <class T> static void send(const Fd& socket, const T& message, int descriptors) {
        alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int))> control{};
        std::array<int, 8> fds{};
        fds.fill(socket.get());
        iovec io{const_cast<T*>(&message), sizeof message};
        msghdr out{};
        out.msg_iov = &io;
        out.msg_iovlen = 1;
        const auto bytes = static_cast<std::size_t>(descriptors) * sizeof(int);
        if (descriptors > 0) {
            out.msg_control = control.data();
            out.msg_controllen = CMSG_SPACE(bytes);
            cmsghdr* rights = CMSG_FIRSTHDR(&out);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(bytes);
            std::memcpy(CMSG_DATA(rights), fds.data(), bytes);
        }
        BOOST_REQUIRE(sendmsg(socket.get(), &out, MSG_NOSIGNAL) == sizeof message);
    }
};

std::ptrdiff_t open_descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

pike_bypass_socket bypass() {
    pike_bypass_socket message{};
    message.header.type = PIKE_BYPASS_SOCKET;
    message.family = AF_INET;
    return message;
}

} // namespace

BOOST_AUTO_TEST_SUITE(ike_server)

BOOST_AUTO_TEST_CASE(takes_one_descriptor_and_keeps_none_that_nobody_asked_for) {
    Channel channel;
    const auto before = open_descriptors();
    Channel::send(channel.peer, bypass(), 1);
    BOOST_TEST(channel.server->serve_requests().has_value());
    BOOST_TEST(channel.handler.sockets == 1);
    pike_log line{};
    line.header.type = PIKE_LOG;
    Channel::send(channel.peer_events, line, 1); // an event has none
    BOOST_TEST(channel.server->serve_events().has_value());
    BOOST_TEST(open_descriptors() == before);
}

BOOST_AUTO_TEST_CASE(refuses_more_than_one_descriptor_and_leaks_none) {
    for (const int count : {2, 3, 8}) {
        Channel channel;
        const auto before = open_descriptors();
        Channel::send(channel.peer, bypass(), count);
        const auto served = channel.server->serve_requests();
        BOOST_REQUIRE(!served);
        BOOST_TEST(served.error().code() == EPROTO);
        BOOST_TEST(channel.handler.sockets == 0);
        BOOST_TEST(open_descriptors() == before);
    }
}

BOOST_AUTO_TEST_CASE(refuses_a_bypass_without_its_socket) {
    Channel channel;
    Channel::send(channel.peer, bypass(), 0);
    BOOST_TEST(channel.server->serve_requests().error().code() == EPROTO);
}

BOOST_AUTO_TEST_SUITE_END()
