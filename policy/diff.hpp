// Two policies compared, in words: what each device gains and loses.
#pragma once

#include "policy/model.hpp"

#include <string>
#include <vector>

namespace penstock::policy {

struct Change { // the same for all these devices
    std::vector<std::string> devices;
    std::vector<std::string> gains;  // "may reach 203.0.113.10/32 at tcp/443", "no longer denied: ..."
    std::vector<std::string> losses; // "may no longer reach ...", "must not reach ..."
    std::vector<std::string> other;  // identity and limits: "address 10.20.0.12 becomes 10.20.0.13"
    bool operator==(const Change&) const = default;
};

struct Difference {
    std::vector<std::string> header;         // version, expiry, gateways
    std::vector<std::string> added, removed; // devices
    std::vector<Change> changes;             // by the name of the first device; those of added devices too
    [[nodiscard]] bool empty() const { return header.empty() && added.empty() && removed.empty() && changes.empty(); }
};

Difference compare(const Policy& before, const Policy& after);

// Lines for a person; long lists of devices are cut short with their number.
std::vector<std::string> in_lines(const Difference& difference);
// The same as one text; "no difference" if there is none.
std::string in_words(const Difference& difference);

} // namespace penstock::policy
