// One file of the audit log: sealed records, each with its length (4 bytes, big endian) before it.
#pragma once

#include "agent/store/keyring.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::store {

struct AuditRecord {
    nlohmann::json content; // null: cannot be opened
    std::string hash;       // SHA-256 of the content's text, hex
    std::string sealed;
};

struct AuditFile {
    static constexpr std::size_t kMaxRecord = 64U << 10; // bytes, sealed

    std::vector<AuditRecord> records;
    std::size_t whole = 0; // bytes of whole records
    std::string torn;      // what follows them

    // An error only if the file itself cannot be read.
    static Result<AuditFile> read(const std::filesystem::path& path, const Keyring& keys);
    [[nodiscard]] const AuditRecord* first() const; // of those that can be opened; null: none can
    [[nodiscard]] const AuditRecord* last() const;
    // Takes the last record for torn: its length was there before all of it was.
    void tear_last();
};

Result<std::string> seal_record(const Keyring& keys, std::string_view text);
std::string framed(std::string_view sealed);

// With the current key, where a previous one sealed it; the chain is of contents, so it stays as it is. What cannot be
// opened, and what is torn, stays too.
Status reseal_audit_file(const std::filesystem::path& path, const Keyring& keys);

std::uint64_t seq_of(const nlohmann::json& record); // 0: it has none
std::string text_of(const nlohmann::json& record, const char* key);

} // namespace penstock::store
