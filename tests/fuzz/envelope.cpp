// A DSSE envelope, as whoever pushes it wrote it.
#include "policy/bundle/envelope.hpp"

#include "policy/bundle/root_chain.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = fuzz::text(data, size);
    if (const auto envelope = policy::Envelope::parse(bytes)) {
        const auto again = policy::Envelope::parse(envelope->dump());
        fuzz::require(again && again->signed_bytes() == envelope->signed_bytes() &&
                          again->signatures.size() == envelope->signatures.size(),
                      "an envelope that is written is read as it was");
    }
    (void)policy::is_root_chain(bytes);
    return 0;
}
