// What penstockd sends: the configuration, commands and kernel upcalls as datagrams; values of the wire format as text.
#include "agent/ike/server.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>

namespace penstock {

namespace {

template <std::size_t N> bool put_text(char (&out)[N], std::string_view text) {
    if (text.size() >= N || text.find('\0') != std::string_view::npos)
        return false;
    std::copy(text.begin(), text.end(), out);
    return true;
}

bool put_prefixes(pike_prefix (&out)[PIKE_SELECTORS], std::uint8_t& count, const std::vector<IpPrefix>& prefixes) {
    if (prefixes.empty() || prefixes.size() > PIKE_SELECTORS)
        return false;
    count = static_cast<std::uint8_t>(prefixes.size());
    for (std::size_t i = 0; i < prefixes.size(); i++) {
        std::copy(prefixes[i].address.bytes.begin(), prefixes[i].address.bytes.end(), out[i].bytes);
        out[i].family = static_cast<std::uint8_t>(prefixes[i].address.family);
        out[i].length = static_cast<std::uint8_t>(prefixes[i].length);
    }
    return true;
}

Result<pike_config_tunnel> encode(const IkeTunnel& tunnel) {
    pike_config_tunnel out{};
    out.header.type = PIKE_CONFIG_TUNNEL;
    if (!put_text(out.name, tunnel.name) || !put_text(out.local_id, tunnel.local_id) ||
        !put_text(out.remote_id, tunnel.remote_id) || !put_text(out.ike_proposal, tunnel.ike_proposal) ||
        !put_text(out.esp_proposal, tunnel.esp_proposal))
        return fail("tunnel " + tunnel.name + ": a name, identity or proposal is too long");
    if (!put_prefixes(out.local, out.local_count, tunnel.local_networks) ||
        !put_prefixes(out.remote, out.remote_count, tunnel.remote_networks))
        return fail("tunnel " + tunnel.name + ": needs 1 to " + std::to_string(PIKE_SELECTORS) + " networks a side");
    out.peer = to_pike(tunnel.peer);
    out.reqid = tunnel.reqid;
    out.ike_rekey = tunnel.ike_rekey;
    out.child_rekey = tunnel.child_rekey;
    out.dpd = tunnel.dpd;
    out.replay_window = tunnel.replay_window;
    out.initiate = tunnel.initiate ? 1 : 0;
    out.mobike = tunnel.mobike ? 1 : 0;
    return out;
}

} // namespace

Status IkeServer::send_event(const void* message, std::size_t size, int fd) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec io{const_cast<void*>(message), size};
    msghdr header{};
    header.msg_iov = &io;
    header.msg_iovlen = 1;
    if (fd >= 0) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    if (::sendmsg(events_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(size))
        return fail_errno("cannot send to penstock-ike");
    return {};
}

Status IkeServer::configure(const IkeConfig& config) {
    std::vector<pike_config_tunnel> tunnels;
    for (const IkeTunnel& tunnel : config.tunnels) {
        auto encoded = encode(tunnel);
        if (!encoded)
            return tl::unexpected(std::move(encoded).error());
        tunnels.push_back(*encoded);
    }
    pike_config_begin begin{};
    begin.header.type = PIKE_CONFIG_BEGIN;
    begin.version = PIKE_VERSION;
    begin.esp_mode = config.user_esp ? PIKE_ESP_USER : PIKE_ESP_KERNEL;
    begin.log_level = static_cast<std::uint32_t>(std::clamp(config.log_level, 0, 2));
    std::string interfaces;
    for (const std::string& interface : config.interfaces)
        interfaces += (interfaces.empty() ? "" : ",") + interface;
    if (!put_text(begin.interfaces, interfaces))
        return fail("too many uplink interfaces for IKE");
    if (Status sent = send_event(&begin, sizeof begin); !sent)
        return sent;
    for (const IkeCredential& credential : config.credentials) {
        pike_config_credential message{};
        message.header.type = PIKE_CONFIG_CREDENTIAL;
        message.kind = credential.kind;
        if (Status sent = send_event(&message, sizeof message, credential.fd); !sent)
            return sent;
    }
    for (const pike_config_tunnel& tunnel : tunnels)
        if (Status sent = send_event(&tunnel, sizeof tunnel); !sent)
            return sent;
    pike_config_commit commit{};
    commit.header.type = PIKE_CONFIG_COMMIT;
    return send_event(&commit, sizeof commit);
}

Status IkeServer::command(pike_command_kind kind, std::string_view tunnel) {
    pike_command message{};
    message.header.type = PIKE_COMMAND;
    message.kind = kind;
    if (!put_text(message.tunnel, tunnel))
        return fail("the tunnel's name is too long");
    return send_event(&message, sizeof message);
}

Status IkeServer::acquire(std::uint32_t reqid) {
    pike_acquire message{};
    message.header.type = PIKE_ACQUIRE;
    message.reqid = reqid;
    return send_event(&message, sizeof message);
}

Status IkeServer::expire(const IpAddress& destination, std::uint32_t spi_be, bool hard) {
    pike_expire message{};
    message.header.type = PIKE_EXPIRE;
    message.destination = to_pike(destination);
    message.spi_be = spi_be;
    message.protocol = IPPROTO_ESP;
    message.hard = hard ? 1 : 0;
    return send_event(&message, sizeof message);
}

Status IkeServer::mapping(const pike_address& destination, const pike_address& remote, std::uint32_t spi_be) {
    pike_mapping message{};
    message.header.type = PIKE_MAPPING;
    message.destination = destination;
    message.remote = remote;
    message.spi_be = spi_be;
    message.protocol = IPPROTO_ESP;
    return send_event(&message, sizeof message);
}

pike_address to_pike(const IpAddress& address, std::uint16_t port) {
    pike_address out{};
    std::copy(address.bytes.begin(), address.bytes.end(), out.bytes);
    out.family = static_cast<std::uint8_t>(address.family);
    out.port = port;
    return out;
}

IpAddress from_pike(const pike_address& address) {
    IpAddress out;
    out.family = address.family;
    std::copy(address.bytes, address.bytes + (address.family == AF_INET ? 4 : 16), out.bytes.begin());
    return out;
}

std::string to_string(const pike_selector& selector) {
    const auto end = [&](const std::uint8_t* bytes) {
        pike_address address{};
        std::copy(bytes, bytes + 16, address.bytes);
        address.family = selector.family;
        return from_pike(address).str();
    };
    std::string text = end(selector.from) + "-" + end(selector.to);
    if (selector.protocol != 0)
        text += " protocol " + std::to_string(selector.protocol);
    if (selector.from_port != 0 || selector.to_port != 65535)
        text += " ports " + std::to_string(selector.from_port) + "-" + std::to_string(selector.to_port);
    return text;
}

} // namespace penstock
