#include "agent/core/bundle_config.hpp"

#include "agent/core/api_config.hpp"
#include "agent/core/config_section.hpp"
#include "policy/text.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace penstock::core {
namespace {

constexpr std::size_t kMaxUrl = 2048; // bytes
constexpr std::uint32_t kShortestInterval = 60, kLongestInterval = 7 * 86400;
constexpr std::string_view kHttps = "https://", kHttp = "http://";

// What stands between scheme and path.
std::string_view authority_of(std::string_view url, std::string_view scheme) {
    url.remove_prefix(scheme.size());
    return url.substr(0, url.find_first_of("/?#"));
}

struct HostPort {
    std::string_view host; // an IPv6 address in brackets
    std::string_view port; // with its colon; empty: none
};

HostPort split(std::string_view authority) {
    const auto bracket = authority.rfind(']');
    const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
    return {authority.substr(0, colon), colon == std::string_view::npos ? "" : authority.substr(colon)};
}

bool is_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + !text.empty(), last, port);
    return text.size() > 1 && error == std::errc{} && end == last && port != 0;
}

bool is_host(std::string_view host) {
    if (host.starts_with('[')) {
        const auto address = IpAddress::parse(host.substr(1, host.size() - 2));
        return host.ends_with(']') && address && host.find(':') != std::string_view::npos;
    }
    return !host.empty() && std::ranges::all_of(host, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
               c == '_';
    });
}

// What is wrong with the text, or nothing.
std::string wrong_with(const std::string& url) {
    if (url.starts_with(kHttp))
        return "must begin with https://; over http:// anybody on the way could hold a newer policy back unseen";
    if (!url.starts_with(kHttps))
        return "must be a URL such as \"https://bundles.example/gw.bundle\", not " + policy::quote(url);
    if (url.size() > kMaxUrl)
        return "has more than " + std::to_string(kMaxUrl) + " bytes";
    if (!std::ranges::all_of(url, [](char c) { return c > ' ' && c < 0x7f; }) || url.find('#') != std::string::npos)
        return "has a character that a URL cannot have; write it as % and two hex digits";
    const auto authority = authority_of(url, kHttps);
    if (authority.find('@') != std::string_view::npos)
        return "must not have a name or password in it; use certificate and private_key";
    const auto [host, port] = split(authority);
    if (!is_host(host) || (!port.empty() && !is_port(port)))
        return "names no host, or no port from 1 to 65535";
    return "";
}

bool is_proxy(const std::string& text) {
    if (!text.starts_with(kHttp))
        return false;
    const auto authority = authority_of(text, kHttp);
    const auto rest = std::string_view(text).substr(kHttp.size() + authority.size());
    const auto [host, port] = split(authority);
    return is_host(host) && is_port(port) && (rest.empty() || rest == "/");
}

} // namespace

std::string BundleConfig::host() const { return std::string(split(authority_of(url, kHttps)).host); }

void BundleConfig::resolve(const std::filesystem::path& folder) {
    for (auto* path : {&certificate, &private_key})
        if (!path->empty())
            *path = folder / *path;
    for (auto& path : ca)
        path = folder / path;
}

BundleConfig read_bundle(Section& section, const std::optional<std::string>& api_user) {
    BundleConfig bundle;
    auto interval = static_cast<std::uint32_t>(bundle.interval.count());
    bundle.user = api_user.value_or(ApiConfig{}.user);
    section.read("url", bundle.url, Section::Need::required);
    section.read("interval", interval, kShortestInterval, kLongestInterval);
    section.read_list("ca", bundle.ca);
    section.read("certificate", bundle.certificate);
    section.read("private_key", bundle.private_key);
    section.read("proxy", bundle.proxy);
    section.read("user", bundle.user);
    section.refuse_unknown_keys();
    bundle.interval = std::chrono::seconds(interval);

    if (const auto wrong = bundle.url.empty() ? "" : wrong_with(bundle.url); !wrong.empty()) {
        section.complain("url", "[bundle] url " + wrong);
        bundle.url.clear();
    }
    if (bundle.certificate.empty() != bundle.private_key.empty())
        section.complain(bundle.certificate.empty() ? "private_key" : "certificate",
                         "[bundle] certificate and private_key go together; name both or neither");
    if (!bundle.proxy.empty() && !is_proxy(bundle.proxy))
        section.complain("proxy", "[bundle] proxy must be \"http://HOST:PORT\", without a name or password, not " +
                                      policy::quote(bundle.proxy));
    if (api_user && bundle.user != *api_user)
        section.complain("user", "[bundle] user must be that of [api], " + *api_user +
                                     ": both ask penstockd at the same socket");
    return bundle;
}

Result<PullSettings> load_pull_settings(const std::filesystem::path& file) {
    const auto root = read_toml(file);
    if (!root)
        return tl::unexpected(root.error());
    Complaints complaints(file.string());
    PullSettings out;
    std::optional<std::string> api_user;
    if (const auto* table = (*root)["api"].as_table()) {
        Section api("[api]", table, complaints);
        api_user = ApiConfig{}.user;
        api.read("user", *api_user);
    }
    if (const auto* table = (*root)["bundle"].as_table()) {
        Section bundle("[bundle]", table, complaints);
        out.bundle = read_bundle(bundle, api_user);
        out.bundle->resolve(std::filesystem::absolute(file).parent_path());
    } else if (root->contains("bundle")) {
        complaints.add((*root)["bundle"].node()->source().begin.line, "bundle must be a section");
    }
    std::filesystem::path run = "/run/penstock";
    Section paths("[paths]", (*root)["paths"].as_table(), complaints);
    paths.read("run", run);
    out.socket = run / kApiSocket;
    if (auto ok = complaints.status(); !ok)
        return tl::unexpected(ok.error());
    return out;
}

} // namespace penstock::core
