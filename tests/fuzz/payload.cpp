// The payload of a bundle. It is signed when a gateway reads it; a stolen key below the threshold is not, and a person
// asks `bundle inspect` about anything.
#include "policy/payload.hpp"

#include "tests/fuzz/fuzz.hpp"

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto policy = policy::from_payload(fuzz::text(data, size));
    if (!policy)
        return 0;
    const auto written = policy::to_payload(*policy);
    const auto again = policy::from_payload(written);
    fuzz::require(again && policy::to_payload(*again) == written, "a payload that is written is read as it was");
    return 0;
}
