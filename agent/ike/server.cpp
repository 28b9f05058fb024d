// What penstock-ike sends: each datagram checked, dispatched and, if it is a request, answered.
#include "agent/ike/server.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sys/socket.h>

namespace penstock {

namespace {

constexpr std::size_t kSelectorsAt = offsetof(pike_add_sa, selectors);

bool valid(const pike_address& a) { return a.family == AF_INET || a.family == AF_INET6; }
bool valid_or_none(const pike_address& a) { return a.family == 0 || valid(a); }
bool valid(const pike_sa_id& id) {
    return valid(id.source) && valid(id.destination) && id.source.family == id.destination.family;
}

bool valid(const pike_selector& s) {
    if (s.family != AF_INET && s.family != AF_INET6)
        return false;
    const std::size_t length = s.family == AF_INET ? 4 : 16;
    return std::memcmp(s.from, s.to, length) <= 0;
}

template <std::size_t N> bool terminated(const char (&text)[N]) { return std::memchr(text, 0, N) != nullptr; }

// A request of fixed size, copied out so that it is aligned.
template <class T> std::optional<T> exactly(std::span<const std::byte> datagram) {
    if (datagram.size() != sizeof(T))
        return std::nullopt;
    T message;
    std::memcpy(&message, datagram.data(), sizeof message);
    return message;
}

std::optional<pike_policy> policy(std::span<const std::byte> datagram) {
    auto message = exactly<pike_policy>(datagram);
    if (message && (!valid(message->source) || !valid(message->destination) || message->direction > PIKE_DIR_FWD ||
                    !valid_or_none(message->tunnel_source) || !valid_or_none(message->tunnel_destination)))
        return std::nullopt;
    return message;
}

// Wipes the key wherever the function that holds it ends.
struct SaRequest {
    pike_add_sa message{};
    SaRequest() = default;
    SaRequest(const SaRequest&) = delete;
    SaRequest& operator=(const SaRequest&) = delete;
    ~SaRequest() { explicit_bzero(message.key, sizeof message.key); }

    bool read(std::span<const std::byte> datagram, bool with_key) {
        if (datagram.size() < kSelectorsAt || datagram.size() > sizeof message)
            return false;
        std::memcpy(&message, datagram.data(), datagram.size());
        const std::size_t selectors = std::size_t{message.source_count} + message.destination_count;
        if (message.source_count > PIKE_SELECTORS || message.destination_count > PIKE_SELECTORS ||
            datagram.size() != kSelectorsAt + selectors * sizeof(pike_selector))
            return false;
        return valid(message.id) && terminated(message.tunnel) && message.key_length <= sizeof message.key &&
               (message.key_length != 0) == with_key &&
               std::all_of(message.selectors, message.selectors + selectors,
                           [](const pike_selector& s) { return valid(s); });
    }
};

struct Received {
    ssize_t size = 0;
    Fd passed;
};

// EAGAIN: size -1. A second descriptor is refused, and closed by the kernel: CMSG_SPACE() is padded and would take two,
// CMSG_LEN() has room for one.
Result<Received> receive(int socket, std::span<std::byte> buffer) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec io{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_LEN(sizeof(int));
    const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return Received{-1, {}};
    if (got < 0)
        return fail_errno("penstock-ike: channel");
    if (got == 0)
        return fail("penstock-ike closed the channel", EPIPE);
    Received received{got, {}};
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_level == SOL_SOCKET &&
                                                         header->cmsg_type == SCM_RIGHTS &&
                                                         header->cmsg_len == CMSG_LEN(sizeof(int))) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        received.passed = Fd(fd);
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0)
        return fail("penstock-ike sent more than one descriptor with a message", EPROTO);
    if ((message.msg_flags & MSG_TRUNC) != 0 || static_cast<std::size_t>(got) < sizeof(pike_header))
        return fail("penstock-ike sent a message of the wrong size", EPROTO);
    return received;
}

tl::unexpected<Error> malformed(std::uint32_t type) {
    return fail("penstock-ike sent a malformed message of type " + std::to_string(type), EPROTO);
}

} // namespace

Status IkeServer::serve_requests(int budget) {
    alignas(8) std::array<std::byte, PIKE_MAX_MESSAGE> buffer;
    for (; budget > 0; budget--) {
        auto received = receive(requests_.get(), buffer);
        if (!received)
            return tl::unexpected(std::move(received).error());
        if (received->size < 0)
            break;
        const auto size = static_cast<std::size_t>(received->size);
        Status answered = answer(std::span<const std::byte>(buffer.data(), size), std::move(received->passed));
        explicit_bzero(buffer.data(), size); // a key may have been in it
        if (!answered)
            return answered;
    }
    return {};
}

Status IkeServer::answer(std::span<const std::byte> datagram, Fd passed) {
    pike_answer reply{};
    std::memcpy(&reply.header, datagram.data(), sizeof reply.header);
    const auto type = reply.header.type;
    const auto give = [&](const IkeUsage& usage) {
        reply.status = usage.status;
        reply.bytes = usage.bytes;
        reply.packets = usage.packets;
        reply.use_time = usage.use_time;
    };
    switch (type) {
    case PIKE_GET_SPI: {
        const auto message = exactly<pike_get_spi>(datagram);
        if (!message || !valid(message->source) || !valid(message->destination))
            return malformed(type);
        const IkeSpi spi = requests_handler_.get_spi(*message);
        reply.status = spi.status;
        reply.spi_be = spi.spi_be;
        break;
    }
    case PIKE_ADD_SA:
    case PIKE_APPROVE_SA: {
        SaRequest request;
        if (!request.read(datagram, type == PIKE_ADD_SA))
            return malformed(type);
        reply.status = type == PIKE_ADD_SA ? requests_handler_.add_sa(request.message)
                                           : requests_handler_.approve_sa(request.message);
        break;
    }
    case PIKE_UPDATE_SA: {
        const auto message = exactly<pike_update_sa>(datagram);
        if (!message || !valid(message->id) || !valid(message->new_source) || !valid(message->new_destination))
            return malformed(type);
        reply.status = requests_handler_.update_sa(*message);
        break;
    }
    case PIKE_DEL_SA:
    case PIKE_QUERY_SA: {
        const auto message = exactly<pike_del_sa>(datagram);
        if (!message || !valid(message->id))
            return malformed(type);
        if (type == PIKE_DEL_SA)
            reply.status = requests_handler_.del_sa(message->id);
        else
            give(requests_handler_.query_sa(message->id));
        break;
    }
    case PIKE_ADD_POLICY:
    case PIKE_DEL_POLICY:
    case PIKE_QUERY_POLICY: {
        const auto message = policy(datagram);
        if (!message)
            return malformed(type);
        if (type == PIKE_QUERY_POLICY)
            give(requests_handler_.query_policy(*message));
        else
            reply.status = type == PIKE_ADD_POLICY ? requests_handler_.add_policy(*message)
                                                   : requests_handler_.del_policy(*message);
        break;
    }
    case PIKE_FLUSH_SAS:
    case PIKE_FLUSH_POLICIES:
        if (!exactly<pike_flush>(datagram))
            return malformed(type);
        reply.status = type == PIKE_FLUSH_SAS ? requests_handler_.flush_sas() : requests_handler_.flush_policies();
        break;
    case PIKE_BYPASS_SOCKET: {
        const auto message = exactly<pike_bypass_socket>(datagram);
        if (!message || !passed)
            return malformed(type);
        reply.status = requests_handler_.bypass_socket(std::move(passed), message->family);
        break;
    }
    default:
        return malformed(type);
    }
    // One request is in flight, so there is room; a peer that does not read its answers is not ours.
    if (::send(requests_.get(), &reply, sizeof reply, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof reply)
        return fail_errno("cannot answer penstock-ike");
    return {};
}

Status IkeServer::serve_events(int budget) {
    alignas(8) std::array<std::byte, PIKE_MAX_MESSAGE> buffer;
    for (; budget > 0; budget--) {
        auto received = receive(events_.get(), buffer);
        if (!received)
            return tl::unexpected(std::move(received).error());
        if (received->size < 0)
            break;
        const auto size = static_cast<std::size_t>(received->size);
        if (Status done = dispatch({buffer.data(), size}, std::move(received->passed)); !done)
            return done;
    }
    return {};
}

Status IkeServer::dispatch(std::span<std::byte> datagram, Fd passed) {
    pike_header header;
    std::memcpy(&header, datagram.data(), sizeof header);
    switch (header.type) {
    case PIKE_HELLO:
        if (auto event = exactly<pike_hello>(datagram);
            event && terminated(event->strongswan) && event->version == PIKE_VERSION)
            return events_handler_.hello(*event, std::move(passed)), Status{};
        break;
    case PIKE_LOG:
        if (auto event = exactly<pike_log>(datagram); event && terminated(event->group) && terminated(event->text))
            return events_handler_.log_line(*event), Status{};
        break;
    case PIKE_TUNNEL_EVENT:
        if (auto event = exactly<pike_tunnel_event>(datagram);
            event && terminated(event->tunnel) && terminated(event->cipher))
            return events_handler_.tunnel_event(*event), Status{};
        break;
    case PIKE_ALERT:
        if (auto event = exactly<pike_alert>(datagram); event && terminated(event->tunnel) && terminated(event->text))
            return events_handler_.alert(*event), Status{};
        break;
    case PIKE_ALIVE:
        if (exactly<pike_header>(datagram))
            return events_handler_.alive(), Status{};
        break;
    default:
        break;
    }
    return malformed(header.type);
}

} // namespace penstock
