// Who changed what, and when: an append-only log whose records are sealed and hash-chained, so that none can be read,
// changed, moved, added or taken away without the storage key; nor the newest ones cut off, for the ledger of the
// folder knows the last. Whoever puts back the whole folder of an earlier day is not found out by it: keep the number
// and hash of a record elsewhere for that (`penstock audit verify --expect`).
//
// A record is a JSON object with `seq` (from 1) and `prev` (SHA-256 of the record before it, hex), in the folder
// `audit`: files (audit_file.hpp) named by the first one's seq, or the next number that is free.
#pragma once

#include "agent/store/audit_file.hpp"
#include "agent/store/sealed_folder.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace penstock::store {

// A record that the log writes about itself.
inline constexpr const char* kAuditDamaged = "audit_damaged";

class AuditLog {
public:
    struct Limits {
        std::size_t file_bytes = 1U << 20;
        std::size_t total_bytes = 64U << 20; // the oldest files go first
        // By the time that the next file's first record tells. A file is full after an eighth of it, so that a quiet
        // log forgets, too.
        std::chrono::hours keep = std::chrono::days(400);
    };
    // The folder must be open, or each append fails.
    AuditLog(SealedFolder& folder, const Limits& limits) : folder_(folder), limits_(limits) {}

    // On disk when it returns. At the first call, and after one that failed, it finds the end of the log; what is wrong
    // there is a record of its own (`audit_damaged`), so that a later cure does not hide it. The record should have its
    // `time`, RFC 3339 in UTC.
    Status append(nlohmann::json record);
    // What was found wrong since the start, though records are written; empty: nothing.
    [[nodiscard]] std::string trouble() const;

    // An error if the log has more records than a crash can explain: then the ledger was rolled back, and with it what
    // it knows of policies. explains: whether a crash can have left this one, which the ledger does not know yet.
    [[nodiscard]] Status check_ledger(const std::function<bool(const nlohmann::json&)>& explains) const;

    struct Expected {
        std::uint64_t seq = 0; // 0: nothing is expected
        std::string hash;      // hex
    };
    struct Report {
        std::uint64_t records = 0, first = 0, last = 0; // seq of the first and last there are
        std::string hash;                               // of the last, hex
        std::vector<std::string> problems;              // in words, each with record and file
    };
    // Reads all of it, oldest first. Changes nothing.
    [[nodiscard]] Result<Report> verify(const Expected& expected,
                                        const std::function<void(const nlohmann::json&)>& each = {}) const;

private:
    // What the ledger knows.
    struct Head {
        std::uint64_t first = 1, last = 0;
        std::string before_first, hash; // hex; of the record before the first there is, and of the last
    };
    struct Reader;

    [[nodiscard]] Result<Head> read_head() const;
    Status keep_head();
    [[nodiscard]] Result<std::vector<std::filesystem::path>> files() const;
    [[nodiscard]] Result<AuditFile> read(const std::filesystem::path& path) const;
    // The last file: a record behind the last that the ledger knows, and that cannot be opened, is torn, too.
    [[nodiscard]] Result<AuditFile> read_last(const std::filesystem::path& path, std::uint64_t known_last) const;
    [[nodiscard]] Status read_end(const std::vector<std::filesystem::path>& paths, Head& end, std::string& wrong);
    Status find_end();
    Status remove_forgotten(std::vector<std::filesystem::path>& paths) const;
    Status write_record(nlohmann::json record);
    [[nodiscard]] bool is_full() const;
    Status forget_old();
    void reseal(const std::vector<std::filesystem::path>& paths);

    SealedFolder& folder_;
    Limits limits_;
    Head head_;
    std::filesystem::path file_; // the one appended to; empty: the next record begins one
    std::size_t file_size_ = 0;
    std::string file_began_; // time of its first record; empty: unknown
    std::string damage_, not_resealed_;
    bool found_end_ = false, resealed_ = false;
};

} // namespace penstock::store
