#include "agent/core/privacy.hpp"

#include "agent/core/config.hpp"
#include "agent/store/keyring.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <vector>

namespace penstock::core {
namespace {

constexpr std::size_t kLongest = 45; // an IPv6 address with an IPv4 one at its end
constexpr std::size_t kMacLength = 17;
constexpr std::size_t kDigits = 10; // of a pseudonym

bool is_word(unsigned char c) { return std::isalnum(c) != 0 || c == '_'; }
bool is_part(unsigned char c) { return std::isxdigit(c) != 0 || c == '.' || c == ':'; }
bool is_separator(char c) { return c == '.' || c == ':'; }

std::string_view view(const std::uint8_t* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
}

bool is_link_local(const IpAddress& address) {
    return address.family == AF_INET6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

// Says nothing of anybody: unspecified, loopback, broadcast.
bool is_nobodys(const IpAddress& address) {
    static const auto broadcast = IpAddress::parse("255.255.255.255");
    static const auto loopback6 = IpAddress::parse("::1");
    return address == IpAddress{address.family, {}} || address == *broadcast || address == *loopback6 ||
           (address.family == AF_INET && address.bytes[0] == 127);
}

IpPrefix neighbourhood(const IpAddress& address) {
    return IpPrefix::around(address, address.family == AF_INET ? 24 : 48);
}

// "/24" at the beginning of a text: its length, with the slash; 0: none.
std::size_t suffix_length(std::string_view text) {
    if (!text.starts_with('/'))
        return 0;
    std::size_t end = 1;
    while (end < text.size() && end < 4 && std::isdigit(static_cast<unsigned char>(text[end])) != 0)
        end++;
    return end > 1 ? end : 0;
}

} // namespace

Result<Privacy> Privacy::make(const Config& config) {
    const auto key = store::Key::random();
    if (!key)
        return tl::unexpected(key.error());
    Privacy privacy(*key);
    privacy.full_ = config.full_identities;
    privacy.device_networks_ = config.device_networks();
    for (const auto& tunnel : config.tunnels)
        privacy.peers_.insert(tunnel.peer);
    return privacy;
}

std::string Privacy::pseudonym(std::string_view kind, std::string_view bytes) const {
    const auto text = "penstock pseudonym 1: " + std::string(kind) + ": " + std::string(bytes);
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (HMAC(EVP_sha256(), key_.bytes().data(), static_cast<int>(key_.bytes().size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size) == nullptr)
        return std::string(kind) + "-unknown"; // rather than the truth
    return std::string(kind) + "-" + store::hex(view(digest.data(), kDigits / 2));
}

std::string Privacy::shown(const IpAddress& address, const std::set<IpAddress>& said) const {
    if (peers_.contains(address) || said.contains(address) || is_nobodys(address))
        return address.str();
    if (is_link_local(address) ||
        std::ranges::any_of(device_networks_, [&](const IpPrefix& network) { return network.contains(address); }))
        return pseudonym("ip", view(address.bytes.data(), address.bits() / 8));
    return neighbourhood(address).str();
}

bool Privacy::covers_device_network(const IpPrefix& prefix) const {
    return std::ranges::any_of(device_networks_, [&](const IpPrefix& network) { return prefix.contains(network); });
}

struct Privacy::Found {
    std::size_t size; // of what is replaced
    std::string shown;
};

// The longest address at the beginning of the text; behind it may stand a port, or the end of a sentence.
std::optional<Privacy::Found> Privacy::find(std::string_view text, const std::set<IpAddress>& said) const {
    std::size_t size = 0;
    while (size < text.size() && size <= kLongest && is_part(static_cast<unsigned char>(text[size])))
        size++;
    if (text.substr(0, size).find_first_of(".:") == std::string_view::npos)
        return std::nullopt;
    const auto end = size;
    for (; size >= 2; size--) {
        if (size < end && !is_separator(text[size]))
            continue;
        const auto token = text.substr(0, size);
        if (size == kMacLength)
            if (const auto mac = MacAddress::parse(token))
                return Found{size, pseudonym("mac", view(mac->bytes.data(), mac->bytes.size()))};
        const auto address = IpAddress::parse(token);
        if (!address)
            continue;
        const auto suffix = suffix_length(text.substr(size));
        if (const auto prefix = suffix != 0 ? IpPrefix::parse(text.substr(0, size + suffix)) : fail("");
            prefix && prefix->length < address->bits()) {
            const bool is_wide = prefix->contains(neighbourhood(*address));
            if (is_wide || covers_device_network(*prefix))
                return Found{size + suffix, prefix->str()};
        }
        return Found{size + suffix, shown(*address, said)};
    }
    return std::nullopt;
}

std::string Privacy::veil_text(std::string_view text, const std::set<IpAddress>& said) const {
    if (full_)
        return std::string(text);
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const bool may_begin = (at == 0 || !is_word(static_cast<unsigned char>(text[at - 1]))) &&
                               is_part(static_cast<unsigned char>(text[at]));
        if (const auto found = may_begin ? find(text.substr(at), said) : std::nullopt) {
            out += found->shown;
            at += found->size;
        } else {
            out += text[at++];
        }
    }
    return out;
}

nlohmann::json Privacy::veil(nlohmann::json value, const std::set<IpAddress>& said) const {
    if (full_)
        return value;
    if (value.is_string())
        return veil_text(std::string_view(value.get_ref<const std::string&>()), said);
    if (value.is_structured())
        for (auto& item : value)
            item = veil(std::move(item), said);
    return value;
}

bool is_operator(uid_t uid) {
    if (uid == 0)
        return true;
    const passwd* user = getpwuid(uid);
    const group* operators = getgrnam("penstock");
    if (user == nullptr || operators == nullptr)
        return false;
    const auto wanted = operators->gr_gid;
    std::vector<gid_t> groups(65536);
    int count = static_cast<int>(groups.size());
    if (getgrouplist(user->pw_name, user->pw_gid, groups.data(), &count) < 0)
        return false;
    groups.resize(static_cast<std::size_t>(count));
    return std::ranges::find(groups, wanted) != groups.end();
}

} // namespace penstock::core
