#include "tests/bench/traffic.hpp"

#include "tests/bench/clock.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace penstock::bench {
namespace {

constexpr std::size_t kChunk = 256 * 1024;

struct Connection {
    std::string name;
    Fd sender, receiver;
    std::vector<Attachment> attached;
};

sockaddr_storage endpoint(const IpAddress& address, std::uint16_t port, socklen_t& size) {
    sockaddr_storage out{};
    if (address.family == AF_INET) {
        auto& four = reinterpret_cast<sockaddr_in&>(out);
        four.sin_family = AF_INET;
        four.sin_port = htons(port);
        std::memcpy(&four.sin_addr, address.bytes.data(), 4);
        size = sizeof four;
    } else {
        auto& six = reinterpret_cast<sockaddr_in6&>(out);
        six.sin6_family = AF_INET6;
        six.sin6_port = htons(port);
        std::memcpy(&six.sin6_addr, address.bytes.data(), 16);
        size = sizeof six;
    }
    return out;
}

Result<Fd> bound_socket(const std::string& space, const IpAddress& address, std::uint16_t port) {
    if (auto ok = enter_namespace(space); !ok)
        return tl::unexpected(ok.error());
    Fd out(socket(address.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    const linger reset{.l_onoff = 1, .l_linger = 0};
    setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(out.get(), address.family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
               address.family == AF_INET ? IP_FREEBIND : IPV6_FREEBIND, &one, sizeof one);
    setsockopt(out.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    socklen_t size = 0;
    const auto at = endpoint(address, port, size);
    if (!out || bind(out.get(), reinterpret_cast<const sockaddr*>(&at), size) != 0)
        return fail_errno("cannot bind to " + address.str());
    return out;
}

Status attach(Connection& c, const Generator& generator, const char* side, const char* interface, const char* program,
              bool ingress) {
    if (auto ok = enter_namespace(c.name + "-" + side); !ok)
        return ok;
    const auto index = ifindex_of(interface);
    if (!index)
        return tl::unexpected(index.error());
    auto made = Attachment::make(generator.program(program), *index, ingress);
    if (!made)
        return tl::unexpected(made.error());
    c.attached.push_back(std::move(*made));
    return {};
}

Status connect_through(Connection& c, bool ipv6) {
    const auto service = 2 * bench_group(0, 0) + 1;
    const auto server_address = service_address(service, ipv6);
    const auto server = bound_socket(c.name + "-cloud", server_address, bench_port(service));
    if (!server)
        return tl::unexpected(server.error());
    if (listen(server->get(), 1) != 0)
        return fail_errno("listen");
    auto client = bound_socket(c.name + "-device", device_address(0, ipv6), BENCH_SOURCE_PORT);
    if (!client)
        return tl::unexpected(client.error());
    const timeval patience{.tv_sec = 3, .tv_usec = 0};
    setsockopt(client->get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    socklen_t size = 0;
    const auto to = endpoint(server_address, bench_port(service), size);
    if (connect(client->get(), reinterpret_cast<const sockaddr*>(&to), size) != 0)
        return fail_errno("cannot connect through the gateway");
    c.receiver = Fd(accept4(server->get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!c.receiver)
        return fail_errno("accept");
    c.sender = std::move(*client);
    fcntl(c.sender.get(), F_SETFL, O_NONBLOCK);
    return {};
}

// Sends and receives until the time is up; bytes received.
Result<std::uint64_t> pump(const Connection& c, double seconds) {
    static std::vector<char> buffer(kChunk);
    std::uint64_t received = 0;
    const Stopwatch watch;
    auto last = watch.wall_ns();
    while (static_cast<double>(watch.wall_ns()) < seconds * 1e9) {
        const auto sent = send(c.sender.get(), buffer.data(), buffer.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return fail_errno("send");
        const auto got = recv(c.receiver.get(), buffer.data(), buffer.size(), MSG_TRUNC);
        if (got < 0 && errno != EAGAIN)
            return fail_errno("recv");
        if (got > 0) {
            received += static_cast<std::uint64_t>(got);
            last = watch.wall_ns();
        } else if (sent < 0) {
            pollfd wait[] = {{c.sender.get(), POLLOUT, 0}, {c.receiver.get(), POLLIN, 0}};
            (void)poll(wait, 2, 10);
        }
        if (watch.wall_ns() - last > 3'000'000'000)
            return fail("nothing arrives any more");
    }
    return received;
}

} // namespace

Status run_tcp(const Plan& plan) {
    const auto generator = Generator::load();
    if (!generator)
        return tl::unexpected(generator.error());
    generator->set_to_peer(false);
    std::vector<Connection> connections;
    for (const auto& name : plan.gateways) {
        Connection c{.name = name};
        if (std::ranges::find(plan.encrypted, name) != plan.encrypted.end()) {
            if (auto ok = attach(c, *generator, "gateway", "wan0", "encrypt", false); !ok)
                return ok;
            if (auto ok = attach(c, *generator, "cloud", "in0", "decrypt", true); !ok)
                return ok;
        }
        if (auto ok = connect_through(c, plan.size.ipv6); !ok)
            return fail(name, std::move(ok.error()));
        if (auto first = pump(c, plan.slot); !first)
            return fail(name, std::move(first.error()));
        connections.push_back(std::move(c));
    }
    for (std::uint32_t round = 0; round < plan.rounds; round++)
        for (std::size_t i = 0; i < connections.size(); i++) {
            const auto& c = connections[(i + round) % connections.size()];
            const Stopwatch watch;
            auto bytes = pump(c, plan.slot);
            if (!bytes)
                return fail(c.name, std::move(bytes.error()));
            const auto cpu = watch.cpu_ns(), wall = watch.wall_ns();
            std::cout << R"({"round":)" << round << R"(,"gateway":")" << c.name << R"(","packets":)" << *bytes
                      << R"(,"delivered":)" << *bytes << R"(,"cpu_ns":)" << cpu << R"(,"wall_ns":)" << wall << "}\n";
        }
    return {};
}

} // namespace penstock::bench
