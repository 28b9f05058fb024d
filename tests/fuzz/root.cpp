// Root documents and chains of them, up to the step from a trusted one to the next.
#include "policy/bundle/root.hpp"

#include "policy/bundle/root_chain.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = fuzz::text(data, size);
    if (const auto root = policy::Root::from_payload(bytes)) {
        const auto written = root->to_payload();
        const auto again = policy::Root::from_payload(written);
        fuzz::require(again && again->to_payload() == written, "a root that is written is read as it was");
    }
    const auto trusted = policy::load_root(bytes);
    const auto chain = policy::RootChain::parse(bytes);
    if (!chain)
        return 0;
    fuzz::require(policy::RootChain::parse(chain->dump()).has_value(), "a chain that is written can be read");
    if (trusted)
        (void)policy::catch_up(*trusted, *chain, std::nullopt);
    // Whether it is signed is not asked, so that a changed byte still gets to the documents.
    for (const auto& envelope : chain->envelopes)
        if (const auto root = policy::Root::from_payload(envelope.payload))
            (void)policy::count_signatures(envelope, *root, root->root);
    return 0;
}
