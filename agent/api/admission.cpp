#include "agent/api/admission.hpp"

#include <algorithm>
#include <sys/socket.h>

namespace penstock::api {
namespace {

constexpr unsigned kOneSite = 64; // of IPv6: whoever has one address there has all of them

} // namespace

bool Admission::evict(const IpPrefix* client, Verdict& verdict) {
    const auto oldest = std::ranges::find_if(all_, [&](const auto& one) {
        return !one.second.verified && (client == nullptr || one.second.client == *client);
    });
    if (oldest == all_.end())
        return false;
    verdict.make_room.push_back(oldest->first);
    all_.erase(oldest);
    return true;
}

Admission::Verdict Admission::admit(const IpAddress& client) {
    const auto site = IpPrefix::around(client, client.family == AF_INET6 ? kOneSite : client.bits());
    Verdict out;
    const auto same = std::ranges::count_if(all_, [&](const auto& one) { return one.second.client == site; });
    if (static_cast<std::size_t>(same) >= limits_.connections_of_one && !evict(&site, out))
        return out;
    const auto under_way = std::ranges::count_if(all_, [](const auto& one) { return !one.second.verified; });
    if (static_cast<std::size_t>(under_way) >= limits_.handshakes)
        evict(nullptr, out);
    if (all_.size() >= limits_.connections && !evict(nullptr, out))
        return out;
    out.id = next_++;
    all_[*out.id] = {.client = site};
    return out;
}

void Admission::verified(Id id) {
    if (const auto found = all_.find(id); found != all_.end())
        found->second.verified = true;
}

} // namespace penstock::api
