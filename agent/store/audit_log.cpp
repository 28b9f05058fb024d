#include "agent/store/audit_log.hpp"

#include "agent/base/file.hpp"
#include "agent/base/utc.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
#include <utility>

namespace penstock::store {
namespace {

constexpr const char* kFolder = "audit";
constexpr const char* kHead = "audit";   // in the ledger
constexpr std::size_t kForgetAtOnce = 2; // files: a clock that went wrong does not take all of them

std::string number(std::uint64_t value) { return std::to_string(value); }

std::string file_name(std::uint64_t first) {
    char name[32];
    std::snprintf(name, sizeof name, "%020llu", static_cast<unsigned long long>(first));
    return name;
}

} // namespace

Result<AuditLog::Head> AuditLog::read_head() const {
    const auto json = folder_.recall(kHead);
    if (!json)
        return tl::unexpected(json.error());
    if (json->is_null())
        return Head{};
    return Head{.first = json->value("first", std::uint64_t{1}),
                .last = json->value("last", std::uint64_t{0}),
                .before_first = text_of(*json, "before_first"),
                .hash = text_of(*json, "hash")};
}

Status AuditLog::keep_head() {
    return folder_.keep(
        kHead,
        {{"first", head_.first}, {"last", head_.last}, {"before_first", head_.before_first}, {"hash", head_.hash}});
}

Result<std::vector<std::filesystem::path>> AuditLog::files() const {
    std::vector<std::filesystem::path> out;
    std::error_code error;
    for (std::filesystem::directory_iterator it(folder_.path(kFolder), error), end; !error && it != end;
         it.increment(error))
        if (const auto name = it->path().filename().string();
            name.size() == 20 && name.find_first_not_of("0123456789") == std::string::npos)
            out.push_back(it->path());
    if (error && error != std::errc::no_such_file_or_directory)
        return fail_errno("cannot read " + folder_.path(kFolder).string(), error.value());
    std::ranges::sort(out);
    return out;
}

Result<AuditFile> AuditLog::read(const std::filesystem::path& path) const {
    const auto& keys = folder_.keys();
    if (!keys)
        return tl::unexpected(keys.error());
    return AuditFile::read(path, *keys);
}

Result<AuditFile> AuditLog::read_last(const std::filesystem::path& path, std::uint64_t known_last) const {
    auto file = read(path);
    if (!file || file->records.empty() || !file->records.back().content.is_null())
        return file;
    const auto count = file->records.size();
    const bool behind =
        count == 1 ? path.filename() > file_name(known_last) : seq_of(file->records[count - 2].content) == known_last;
    if (behind)
        file->tear_last();
    return file;
}

// Files of records that the ledger has let go already.
Status AuditLog::remove_forgotten(std::vector<std::filesystem::path>& paths) const {
    std::error_code error;
    while (paths.size() > 1 && paths[1].filename() <= file_name(head_.first)) {
        if (!std::filesystem::remove(paths.front(), error) && error)
            return fail_errno("cannot remove " + paths.front().string(), error.value());
        paths.erase(paths.begin());
    }
    return {};
}

// A crash leaves at most one record that the ledger does not know yet, whole or torn, and perhaps in a file of its own.
Status AuditLog::find_end() {
    const auto head = read_head();
    if (!head)
        return tl::unexpected(head.error());
    head_ = *head;
    file_.clear();
    file_size_ = 0;
    std::error_code error;
    std::filesystem::create_directory(folder_.path(kFolder), error);
    if (error)
        return fail_errno("cannot make " + folder_.path(kFolder).string(), error.value());
    std::filesystem::permissions(folder_.path(kFolder), std::filesystem::perms::owner_all, error);
    auto paths = files();
    if (!paths)
        return tl::unexpected(paths.error());
    if (auto ok = remove_forgotten(*paths); !ok)
        return ok;
    reseal(*paths);

    std::string wrong;
    auto end = head_;
    if (auto ok = read_end(*paths, end, wrong); !ok)
        return ok;
    const bool ahead = end.last != head_.last;
    head_ = end;
    found_end_ = true;
    if (!wrong.empty()) {
        damage_ = wrong;
        file_.clear(); // what is damaged stays as it is
        return write_record({{"event", kAuditDamaged}, {"time", utc_now()}, {"why", wrong}});
    }
    return ahead ? keep_head() : Status{}; // before there is a second one that it does not know
}

// Tried once a start: a file that cannot be read must not hold up the log, and until it can the keys of before are
// needed.
void AuditLog::reseal(const std::vector<std::filesystem::path>& paths) {
    const auto& keys = folder_.keys();
    if (!keys || std::exchange(resealed_, true))
        return;
    for (const auto& path : paths)
        if (const auto ok = reseal_audit_file(path, *keys); !ok)
            not_resealed_ = ok.error().message();
}

std::string AuditLog::trouble() const {
    if (!damage_.empty())
        return "the log was damaged: " + damage_;
    return not_resealed_.empty() ? "" : "not sealed with the new key, keep the previous one: " + not_resealed_;
}

// Looks for the last record; what is torn behind it is cut off, unless something is wrong.
Status AuditLog::read_end(const std::vector<std::filesystem::path>& paths, Head& end, std::string& wrong) {
    std::error_code error;
    bool seen = end.last == 0;
    const auto known = end;
    for (auto path = paths.rbegin(); path != paths.rend() && file_.empty(); ++path) {
        const auto file = read_last(*path, known.last);
        if (!file) {
            wrong = file.error().message();
            continue;
        }
        if (file->records.empty() && path->filename() > file_name(known.last)) { // torn at its first, or not even begun
            if (!std::filesystem::remove(*path, error) && error)
                return fail_errno("cannot remove " + path->string(), error.value());
            continue;
        }
        file_ = *path;
        file_size_ = file->whole;
        file_began_ = file->first() != nullptr ? text_of(file->first()->content, "time") : "";
        for (const auto& record : file->records) {
            if (record.content.is_null()) {
                wrong = "a record in " + path->string() + " cannot be opened";
                continue;
            }
            const auto seq = seq_of(record.content);
            const bool next = seq == known.last + 1 && text_of(record.content, "prev") == known.hash;
            seen = seen || next || (seq == known.last && record.hash == known.hash);
            if (seq > known.last && !next && wrong.empty())
                wrong = "record " + number(seq) + " follows " + number(known.last) + ", the last that the ledger knows";
            if (seq > end.last) {
                end.last = seq;
                end.hash = record.hash;
            }
        }
        if (seen && wrong.empty() && !file->torn.empty() &&
            truncate(path->c_str(), static_cast<off_t>(file->whole)) != 0)
            return fail_errno("cannot cut off what is torn of " + path->string());
    }
    if (!seen && wrong.empty())
        wrong = "the log ends before record " + number(known.last) + ", which was its last";
    return {};
}

Status AuditLog::append(nlohmann::json record) {
    if (auto ok = folder_.can_commit(); !ok) // before a record is written that the ledger cannot know
        return ok;
    if (!found_end_)
        if (auto ok = find_end(); !ok) {
            found_end_ = false;
            return ok;
        }
    auto ok = write_record(std::move(record));
    found_end_ = ok.has_value();
    return ok;
}

Status AuditLog::write_record(nlohmann::json record) {
    const auto& keys = folder_.keys();
    if (!keys)
        return tl::unexpected(keys.error());
    const auto seq = head_.last + 1;
    record["seq"] = seq;
    record["prev"] = head_.hash;
    const auto text = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (text.size() > AuditFile::kMaxRecord - kSealBytes)
        return fail("a record of " + number(text.size()) + " bytes is too long for the audit log");
    const auto sealed = seal_record(*keys, text);
    if (!sealed)
        return tl::unexpected(sealed.error());
    if (is_full()) {
        if (auto ok = forget_old(); !ok)
            return ok;
        std::error_code error;
        auto name = seq;
        do // beside a damaged one there is a place, too
            file_ = folder_.path(kFolder) / file_name(name++);
        while (std::filesystem::exists(file_, error));
        file_size_ = 0;
        file_began_ = text_of(record, "time");
    }
    const auto bytes = framed(*sealed);
    if (auto ok = append_to_file(file_, bytes); !ok)
        return ok;
    file_size_ += bytes.size();
    head_.last = seq;
    head_.hash = hex(sha256(text));
    return keep_head();
}

bool AuditLog::is_full() const {
    return file_.empty() || file_size_ >= limits_.file_bytes ||
           (!file_began_.empty() && file_began_ < utc(std::chrono::system_clock::now() - limits_.keep / 8));
}

// Whole files, the oldest first. The ledger knows of it before they go. Sizes and dates of files are anybody's: a file
// counts as no more than it can be, and its age is what the record behind it tells.
Status AuditLog::forget_old() {
    auto paths = files();
    if (!paths)
        return tl::unexpected(paths.error());
    std::error_code error;
    const auto size_of = [&](const std::filesystem::path& path) {
        return std::min<std::uintmax_t>(std::filesystem::file_size(path, error),
                                        limits_.file_bytes + AuditFile::kMaxRecord);
    };
    std::uintmax_t total = 0;
    for (const auto& path : *paths)
        total += size_of(path);
    const auto oldest_kept = utc(std::chrono::system_clock::now() - limits_.keep);
    auto kept = head_;
    for (std::size_t i = 0; i < kForgetAtOnce && i + 1 < paths->size(); i++) {
        const auto next = read((*paths)[i + 1]);
        const auto* first = next ? next->first() : nullptr;
        const auto time = first != nullptr ? text_of(first->content, "time") : "";
        if (total <= limits_.total_bytes && (time.empty() || time >= oldest_kept))
            break;
        total -= size_of((*paths)[i]);
        // Of one that cannot be read, its name tells.
        kept.first =
            first != nullptr ? seq_of(first->content) : std::strtoull((*paths)[i + 1].filename().c_str(), nullptr, 10);
        kept.before_first = first != nullptr ? text_of(first->content, "prev") : "";
    }
    if (kept.first == head_.first)
        return {};
    head_ = kept;
    if (auto ok = keep_head(); !ok)
        return ok;
    return remove_forgotten(*paths);
}

} // namespace penstock::store
