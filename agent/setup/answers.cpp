#include "agent/setup/answers.hpp"

#include "agent/base/file.hpp"
#include "agent/core/config_section.hpp"
#include "agent/core/essentials.hpp"

#include <algorithm>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>

namespace penstock::setup {
namespace {

constexpr std::size_t kMaxBytes = 1U << 20;
constexpr auto kRequired = core::Section::Need::required;

Result<toml::table> parse(const std::filesystem::path& file) {
    const auto text = read_file(file, kMaxBytes);
    if (!text)
        return tl::unexpected(text.error());
    try {
        return toml::parse(*text);
    } catch (const toml::parse_error& error) {
        return fail(file.string() + ":" + std::to_string(error.source().begin.line) + ": " +
                    std::string(error.description()));
    }
}

bool is_way_out(const core::NetworkView& network, int ifindex) {
    return std::ranges::any_of(network.main_routes, [&](const net::Route& route) {
        return route.destination.length == 0 && route.oif == ifindex;
    });
}

} // namespace

std::vector<std::string> service_names() {
    std::vector<std::string> out;
    for (const auto& service : core::known_services())
        if (!service.anywhere && !service.ports.empty()) // the API is set up by hand
            out.emplace_back(service.name);
    return out;
}

Result<Answers> read_answers(const std::filesystem::path& file) {
    const auto parsed = parse(file);
    if (!parsed)
        return tl::unexpected(parsed.error());
    core::Complaints complaints(file.string());
    core::Section section("answer", &*parsed, complaints);
    Answers out;
    section.read("gateway", out.gateway, kRequired);
    section.read_list("lan", out.lan, kRequired);
    section.read_list("uplink", out.uplink, kRequired);
    section.read("tunnel", out.tunnel);
    section.read("peer", out.peer, kRequired);
    section.read("local_id", out.local_id, kRequired);
    section.read("remote_id", out.remote_id, kRequired);
    section.read_list("local_networks", out.local_networks, kRequired);
    section.read_list("remote_networks", out.remote_networks, kRequired);
    for (const auto& service : service_names())
        section.read_list(service.c_str(), out.services[service]);
    section.read("certificate", out.certificate);
    section.read("private_key", out.private_key);
    section.read_list("ca", out.ca, kRequired);
    section.read("root", out.root, kRequired);
    section.read("user", out.user);
    section.read_choice("arm", {{"later", [&] { out.arm = Arm::later; }},
                                {"boot", [&] { out.arm = Arm::boot; }},
                                {"now", [&] { out.arm = Arm::now; }}});
    section.refuse_unknown_keys();
    if (!out.private_key.empty() && out.certificate.empty())
        section.complain("private_key",
                         "private_key without its certificate; name both, or neither to have a key made");
    if (auto ok = complaints.status(); !ok)
        return tl::unexpected(ok.error());
    const auto folder = std::filesystem::absolute(file).parent_path();
    for (auto* path : {&out.certificate, &out.private_key, &out.root})
        if (!path->empty())
            *path = folder / *path;
    for (auto& path : out.ca)
        path = folder / path;
    return out;
}

Answers proposals(const core::NetworkView& network, const std::string& hostname, const std::optional<IpAddress>& from) {
    Answers out;
    out.gateway = out.local_id = hostname;
    for (const auto& link : network.links)
        if (is_way_out(network, link.index))
            out.uplink.push_back(link.name);
    for (const auto& link : network.links) {
        if (link.arphrd != ARPHRD_ETHER || link.master != 0 || is_way_out(network, link.index))
            continue;
        bool has_address = false;
        for (const auto& address : network.addresses) {
            if (address.ifindex != link.index || address.scope == RT_SCOPE_LINK)
                continue;
            has_address = true;
            const auto around = IpPrefix::around(address.address, address.prefix_length);
            if (std::ranges::find(out.local_networks, around) == out.local_networks.end())
                out.local_networks.push_back(around);
        }
        if (has_address)
            out.lan.push_back(link.name);
    }
    if (from)
        out.services["ssh"] = {IpPrefix::around(*from, from->bits())};
    return out;
}

} // namespace penstock::setup
