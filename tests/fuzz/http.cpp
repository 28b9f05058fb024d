// Headers of the web server that bundles are fetched from, line by line as libcurl hands them on.
#include "agent/pull/header.hpp"

#include "tests/fuzz/fuzz.hpp"

#include <algorithm>

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    pull::Header header;
    for (auto text = fuzz::text(data, size); !text.empty();) {
        const auto end = std::min(text.find('\n'), text.size() - 1) + 1;
        header.take(text.substr(0, end));
        text.remove_prefix(end);
    }
    for (const auto& value : {header.validators.etag, header.validators.last_modified})
        fuzz::require(value.size() <= 1024 && std::ranges::none_of(value, [](char c) { return c < ' ' || c == 0x7f; }),
                      "what is sent back stays within its line");
    for (const std::uint64_t first : {0ULL, 10ULL, 134217728ULL})
        if (header.continues_at(first))
            fuzz::require(header.range.starts_with("bytes " + std::to_string(first) + "-"),
                          "a part begins where it says");
    return 0;
}
