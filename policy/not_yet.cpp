#include "policy/not_yet.hpp"

#include <algorithm>

namespace penstock::policy {
namespace {

// Empty if the gate can do all of it.
std::string beyond(const Group& group) { return group.total_rate != 0 ? "total_rate" : ""; }

std::string beyond(const Device& device) { return device.learns() ? "addresses: learn" : ""; }

template <class T> Status check(const Policy& policy, const std::string& kind, const std::vector<T>& items) {
    for (const T& item : items)
        if (const auto what = beyond(item); !what.empty())
            return fail(policy.cite(item.at) + ": " + kind + "." + item.name + "." + what +
                        " is not supported by this version of penstock yet; remove it");
    return {};
}

} // namespace

Status check_supported(const Policy& policy) {
    if (auto ok = check(policy, "groups", policy.groups); !ok)
        return ok;
    return check(policy, "devices", policy.devices);
}

} // namespace penstock::policy
