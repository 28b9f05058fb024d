#include "agent/store/audit_file.hpp"

#include "agent/base/file.hpp"
#include "agent/store/seal.hpp"

#include <algorithm>

namespace penstock::store {
namespace {

constexpr const char* kRole = "audit record";
constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kMaxFile = 64U << 20;

std::size_t read_length(std::string_view bytes) {
    std::size_t out = 0;
    for (const char c : bytes.substr(0, kLengthBytes))
        out = out << 8 | static_cast<unsigned char>(c);
    return out;
}

struct Frames {
    std::vector<std::string_view> sealed;
    std::string_view torn; // what follows the last whole one
};

Frames split(std::string_view bytes) {
    Frames frames;
    while (!bytes.empty()) {
        const auto size = bytes.size() < kLengthBytes ? 0 : read_length(bytes);
        if (size < kSealBytes || size > AuditFile::kMaxRecord || bytes.size() - kLengthBytes < size)
            break;
        frames.sealed.push_back(bytes.substr(kLengthBytes, size));
        bytes.remove_prefix(kLengthBytes + size);
    }
    frames.torn = bytes;
    return frames;
}

bool can_be_opened(const AuditRecord& record) { return !record.content.is_null(); }

} // namespace

Result<AuditFile> AuditFile::read(const std::filesystem::path& path, const Keyring& keys) {
    const auto bytes = read_guarded(path, kMaxFile);
    if (!bytes)
        return tl::unexpected(bytes.error());
    const auto frames = split(*bytes);
    AuditFile file{.records = {}, .whole = bytes->size() - frames.torn.size(), .torn = std::string(frames.torn)};
    for (const auto& sealed : frames.sealed) {
        AuditRecord record{.content = nullptr, .hash = "", .sealed = std::string(sealed)};
        if (const auto text = unseal(keys, kRole, sealed)) {
            auto content = nlohmann::json::parse(*text, nullptr, false);
            if (content.is_object()) {
                record.content = std::move(content);
                record.hash = hex(sha256(*text));
            }
        }
        file.records.push_back(std::move(record));
    }
    return file;
}

const AuditRecord* AuditFile::first() const {
    const auto found = std::ranges::find_if(records, can_be_opened);
    return found == records.end() ? nullptr : &*found;
}

const AuditRecord* AuditFile::last() const {
    const auto found = std::find_if(records.rbegin(), records.rend(), can_be_opened);
    return found == records.rend() ? nullptr : &*found;
}

void AuditFile::tear_last() {
    const auto bytes = framed(records.back().sealed);
    torn = bytes + torn;
    whole -= bytes.size();
    records.pop_back();
}

Result<std::string> seal_record(const Keyring& keys, std::string_view text) { return seal(keys, kRole, text); }

std::string framed(std::string_view sealed) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8)
        out += static_cast<char>(sealed.size() >> shift & 0xff);
    return out.append(sealed);
}

Status reseal_audit_file(const std::filesystem::path& path, const Keyring& keys) {
    const auto file = AuditFile::read(path, keys);
    if (!file)
        return tl::unexpected(file.error());
    const auto outdated = [&](const AuditRecord& record) {
        return is_outdated(keys, record.sealed) && can_be_opened(record);
    };
    if (std::ranges::none_of(file->records, outdated))
        return {};
    std::string bytes;
    for (const auto& record : file->records) {
        auto sealed = record.sealed;
        if (outdated(record)) {
            const auto text = unseal(keys, kRole, sealed);
            auto again = text ? seal(keys, kRole, *text) : text;
            if (!again)
                return tl::unexpected(again.error());
            sealed = std::move(*again);
        }
        bytes += framed(sealed);
    }
    return write_file_atomically(path, bytes + file->torn);
}

std::uint64_t seq_of(const nlohmann::json& record) {
    const auto found = record.find("seq");
    return found != record.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string text_of(const nlohmann::json& record, const char* key) {
    const auto found = record.find(key);
    return found != record.end() && found->is_string() ? found->get<std::string>() : "";
}

} // namespace penstock::store
