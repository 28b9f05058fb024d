#include "policy/not_yet.hpp"

namespace penstock::policy {

Status check_supported(const Policy& policy) {
    for (const Device& device : policy.devices)
        if (device.learns())
            return fail(policy.cite(device.at) + ": devices." + device.name +
                        ".addresses: learn is not supported by this version of penstock yet; list its addresses");
    return {};
}

} // namespace penstock::policy
