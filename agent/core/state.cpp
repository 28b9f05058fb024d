#include "agent/core/state.hpp"

#include "agent/base/file.hpp"

#include <cerrno>
#include <sstream>

namespace penstock::core {
namespace {

// Of a version without seals: version and digest of the last policy. Its file of the witness held the frame, in words.
constexpr const char* kOldPolicyLast = "policy.last";
constexpr std::size_t kMaxOld = 256U << 20;

Result<std::string> read_old(const store::SealedFolder& state, const char* name) {
    auto text = read_guarded(state.path(name), kMaxOld);
    return !text && text.error().code() == ENOENT ? "" : text;
}

Result<nlohmann::json> old_last_policy(const store::SealedFolder& state) {
    const auto text = read_old(state, kOldPolicyLast);
    if (!text)
        return tl::unexpected(text.error());
    auto last = text->empty() ? nlohmann::json() : nlohmann::json::parse(*text, nullptr, false);
    if (!text->empty() && (!last.is_object() || !last.contains("version") || !last["version"].is_number_unsigned() ||
                           !last.contains("digest") || !last["digest"].is_string()))
        return fail(state.path(kOldPolicyLast).string() +
                    " is damaged, so older policies could not be told from newer; restore it, or delete it and " +
                    state.path(kPolicyBundle).string() + " to begin anew");
    return last;
}

// What a version without seals left.
Result<store::SealedFolder::Change> unsealed(const store::SealedFolder& state) {
    store::SealedFolder::Change out;
    for (const auto* name : {kPolicyBundle, kRootChain}) {
        auto content = read_old(state, name);
        if (!content)
            return tl::unexpected(content.error());
        if (!content->empty())
            out.files.push_back({name, std::move(*content)});
    }
    const auto last = old_last_policy(state);
    if (!last)
        return tl::unexpected(last.error());
    const auto seen = read_old(state, kSighting);
    if (!seen)
        return tl::unexpected(seen.error());
    out.entries[kLastPolicy] = *last;
    if (!seen->empty())
        out.entries[kSeen] = *seen;
    return out;
}

// The ledger has it by now.
Status remove_unsealed(const store::SealedFolder& state) {
    std::error_code error;
    std::filesystem::remove(state.path(kOldPolicyLast), error);
    if (std::filesystem::file_size(state.path(kSighting), error) > 0 && !error)
        return write_file_atomically(state.path(kSighting), "");
    return {};
}

// What a record tells of was in the ledger before the record was written: true if the ledger does not know it.
bool is_newer(const nlohmann::json& record, const char* event, const Result<nlohmann::json>& known) {
    if (!known || record.value("event", "") != event)
        return false;
    const auto version = known->is_object() ? known->value("version", nlohmann::json(0)) : *known;
    return !version.is_number_unsigned() || record.value("version", std::uint64_t{0}) > version.get<std::uint64_t>();
}

Status open_newest(store::SealedFolder& state, const store::AuditLog::Limits& limits) {
    if (auto ok = state.open({kPolicyBundle, kPolicyBefore, kRootChain}, [&] { return unsealed(state); }); !ok)
        return ok;
    if (auto ok = remove_unsealed(state); !ok)
        return ok;
    return store::AuditLog(state, limits).check_ledger([&](const nlohmann::json& record) {
        return !is_newer(record, "policy_in_force", state.recall(kLastPolicy)) &&
               !is_newer(record, "root_in_force", state.recall(kLastRoot));
    });
}

} // namespace

Status open_state(store::SealedFolder& state, const store::AuditLog::Limits& limits) {
    auto opened = open_newest(state, limits);
    if (!opened)
        state.close(opened.error().message());
    return opened;
}

std::vector<nlohmann::json> take_unsealed_releases(const store::SealedFolder& state) {
    constexpr std::size_t kMaxBytes = 64U << 10;
    std::vector<nlohmann::json> out;
    const auto path = state.path(kUnsealedReleases);
    std::istringstream lines(read_guarded(path, kMaxBytes).value_or(""));
    for (std::string line; std::getline(lines, line);)
        if (const auto one = nlohmann::json::parse(line, nullptr, false);
            one.is_object() && one.value("uid", nlohmann::json()).is_number_unsigned())
            out.push_back({{"at", store::text_of(one, "time")},
                           {"uid", one["uid"].get<uid_t>()},
                           {"by", store::text_of(one, "by")},
                           {"unsealed", true}});
    std::error_code error; // one that stays is told again
    std::filesystem::remove(path, error);
    return out;
}

} // namespace penstock::core
