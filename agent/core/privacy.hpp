// What leaves the gateway about a device is pseudonymous: journal, events, answers and what the audit log shows.
//
// In every text, wherever in a sentence it stands,
//   - a MAC address becomes "mac-" and ten hex digits;
//   - an address in a device network, and a link-local one, "ip-" and ten hex digits;
//   - any other address what it has in common with its neighbours: its /24, or its /48 of IPv6.
// The digits are the beginning of HMAC-SHA-256 over the kind and the address, with a key of this gateway alone: the
// same device has the same pseudonym for as long as the key is kept, and without the key an address cannot be tried.
// A device's name stays: the operator chose it, and mends by it. So do networks, and the tunnels' peers, which are the
// operator's own.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/store/aead.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace penstock::core {

struct Config;

class Privacy {
public:
    // With a key of its own until it is given another.
    static Result<Privacy> make(const Config& config);
    void set_key(const store::Key& key) { key_ = key; }
    [[nodiscard]] const store::Key& key() const { return key_; }

    // Nothing is hidden: [privacy] identities = "full".
    [[nodiscard]] bool full() const { return full_; }
    // said: what stays, for who asks has said it.
    [[nodiscard]] std::string veil_text(std::string_view text, const std::set<IpAddress>& said = {}) const;
    // Every text in it; keys stay.
    [[nodiscard]] nlohmann::json veil(nlohmann::json value, const std::set<IpAddress>& said = {}) const;

private:
    explicit Privacy(const store::Key& key) : key_(key) {}
    struct Found;
    [[nodiscard]] std::optional<Found> find(std::string_view text, const std::set<IpAddress>& said) const;
    [[nodiscard]] std::string shown(const IpAddress& address, const std::set<IpAddress>& said) const;
    [[nodiscard]] std::string pseudonym(std::string_view kind, std::string_view bytes) const;
    [[nodiscard]] bool covers_device_network(const IpPrefix& prefix) const;

    store::Key key_;
    bool full_ = false;
    std::set<IpPrefix> device_networks_;
    std::set<IpAddress> peers_;
};

// Root, and who is in the group that a package makes for operators.
bool is_operator(uid_t uid);

} // namespace penstock::core
