// Who may be connected: so many in all, so many from one address, so many in the middle of a handshake. Whoever has
// shown no certificate yet makes room for whoever comes after.
#pragma once

#include "agent/api/limits.hpp"
#include "agent/base/ip.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace penstock::api {

class Admission {
public:
    using Id = std::uint64_t;
    explicit Admission(const Limits& limits) : limits_(limits) {}

    struct Verdict {
        std::optional<Id> id;      // none: refused
        std::vector<Id> make_room; // to be closed; they are forgotten already
    };
    Verdict admit(const IpAddress& client);
    void verified(Id id); // the handshake is done
    void gone(Id id) { all_.erase(id); }
    [[nodiscard]] std::size_t size() const { return all_.size(); }

private:
    struct Entry {
        IpPrefix client;
        bool verified = false;
    };
    // The oldest without a certificate, of this client or of all; all_ is in the order of age.
    bool evict(const IpPrefix* client, Verdict& verdict);

    const Limits& limits_;
    std::map<Id, Entry> all_;
    Id next_ = 1;
};

} // namespace penstock::api
