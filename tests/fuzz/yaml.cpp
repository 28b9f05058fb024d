// A policy as a person writes it.
#include "policy/yaml.hpp"

#include "policy/payload.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto policy = policy::read_yaml({{"policy.yaml", std::string(fuzz::text(data, size))}});
    if (policy)
        fuzz::require(policy::from_payload(policy::to_payload(*policy)).has_value(),
                      "what can be authored can be read by a gateway");
    return 0;
}
