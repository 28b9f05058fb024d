// Reading the whole audit log, to find what was done to it.
#include "agent/base/file.hpp"
#include "agent/store/audit_log.hpp"

#include <utility>

namespace penstock::store {
namespace {

constexpr std::size_t kMostProblems = 100; // told in words
constexpr int kMostFiles = 4;              // looked at for the newest record: a start does not wait for strange ones

std::string number(std::uint64_t value) { return std::to_string(value); }

} // namespace

// Walks through the records in their order and writes down what does not fit.
struct AuditLog::Reader {
    Report report;
    const Head known;
    const Expected wanted;
    std::uint64_t expected; // seq of the next
    std::string prev;       // hash that the next must name; empty: unknown
    std::size_t untold = 0; // problems
    bool wanted_seen = false;

    Reader(const Head& head, Expected expectation)
        : known(head), wanted(std::move(expectation)), expected(head.first), prev(head.before_first) {}

    void problem(std::string what) {
        if (report.problems.size() < kMostProblems)
            report.problems.push_back(std::move(what));
        else
            untold++;
    }

    void take(const AuditRecord& record, const std::string& where) {
        if (record.content.is_null()) {
            problem("record " + number(expected) + " (" + where + ") was changed, or is not of this log");
            expected++;
            prev.clear();
            return;
        }
        const auto seq = seq_of(record.content);
        if (report.records == 0 && seq < known.first)
            return; // let go, and the file not yet removed
        if (seq > expected)
            problem("records " + number(expected) + " to " + number(seq - 1) + " are missing before " + where);
        else if (seq < expected)
            problem("record " + number(seq) + " (" + where + ") stands where " + number(expected) + " should");
        else if (!prev.empty() && text_of(record.content, "prev") != prev)
            problem("record " + number(seq) + " (" + where + ") does not follow the one before it");
        if (text_of(record.content, "event") == kAuditDamaged)
            problem("record " + number(seq) + ", " + text_of(record.content, "time") + ": " +
                    text_of(record.content, "why"));
        if (seq == known.last && record.hash != known.hash)
            problem("record " + number(seq) + " (" + where + ") is not the one that the ledger knows");
        if (seq == wanted.seq && record.hash != wanted.hash)
            problem("record " + number(seq) + " (" + where + ") has another hash than the one expected");
        wanted_seen = wanted_seen || seq == wanted.seq;
        if (report.records++ == 0)
            report.first = seq;
        report.last = seq;
        report.hash = record.hash;
        expected = seq + 1;
        prev = record.hash;
    }

    void finish() {
        if (expected <= known.last)
            problem("records " + number(expected) + " to " + number(known.last) + " are missing at the end");
        // A crash leaves at most one record that the ledger does not know yet.
        if (expected > known.last + 2)
            problem("the ledger knows " + number(known.last) + " records only: it is one of an earlier day");
        if (wanted.seq != 0 && !wanted_seen)
            problem("record " + number(wanted.seq) + ", which is expected, is not there");
        if (untold > 0)
            report.problems.push_back("and " + number(untold) + " more");
    }
};

Result<AuditLog::Report> AuditLog::verify(const Expected& expected,
                                          const std::function<void(const nlohmann::json&)>& each) const {
    const auto paths = files();
    if (!paths)
        return tl::unexpected(paths.error());
    const auto head = read_head();
    if (!head)
        return tl::unexpected(head.error());
    Reader reader(*head, expected);
    for (const auto& path : *paths) {
        const auto file = path == paths->back() ? read_last(path, head->last) : read(path);
        if (!file) {
            reader.problem(file.error().message());
            reader.prev.clear();
            continue;
        }
        for (std::size_t i = 0; i < file->records.size(); i++) {
            reader.take(file->records[i], path.string() + ", number " + number(i + 1));
            if (each && !file->records[i].content.is_null())
                each(file->records[i].content);
        }
        if (!file->torn.empty() && (path != paths->back() || reader.expected <= head->last))
            reader.problem("the end of " + path.string() + " is cut off or changed");
    }
    reader.finish();
    return std::move(reader.report);
}

// Judged by the newest record that can be opened, in whatever file it is. A log that cannot be read proves nothing; who
// appends to it says so.
Status AuditLog::check_ledger(const std::function<bool(const nlohmann::json&)>& explains) const {
    const auto head = read_head();
    if (!head)
        return tl::unexpected(head.error());
    const auto paths = files();
    if (!paths)
        return {};
    std::error_code error;
    int looked_at = 0;
    for (auto path = paths->rbegin(); path != paths->rend() && looked_at < kMostFiles; ++path) {
        if (std::filesystem::file_size(*path, error) > limits_.file_bytes + AuditFile::kMaxRecord || error)
            continue; // none that the log made
        looked_at++;
        const auto file = read(*path);
        const auto* last = file ? file->last() : nullptr;
        if (last == nullptr)
            continue;
        const auto seq = seq_of(last->content);
        if (seq <= head->last || (seq == head->last + 1 && explains(last->content)))
            return {};
        return fail("the ledger in " + folder_.path("").string() +
                    " is of an earlier day than the audit log beside it: part of the folder was put back. Put back the "
                    "rest of that day; or, to go on with the older policy, delete " +
                    path->parent_path().string() + ", which the log will tell");
    }
    return {};
}

} // namespace penstock::store
