// What the header of an HTTP answer says of the resource: which state of it is sent, and what part. All of it is a
// stranger's word.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::pull {

// What names one state of a resource (RFC 9110, section 8.8), as the server wrote it; empty: it did not, or not so that
// it can be sent back.
struct Validators {
    std::string etag, last_modified;

    [[nodiscard]] bool strong() const { return etag.starts_with('"'); }
};

struct Header {
    long status = 0;        // 0: there was no status line
    bool old_http = false;  // 1.x, where the framing alone does not tell the end of a body from a cut
    bool delimited = false; // there is a length, or chunks
    Validators validators;
    std::string range; // Content-Range

    // One line after the other, with its end. A status line begins a new answer and forgets the one before.
    void take(std::string_view line);
    // It is a part from this byte to the end of the whole.
    [[nodiscard]] bool continues_at(std::uint64_t first) const;
};

} // namespace penstock::pull
