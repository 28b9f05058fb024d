#include "agent/store/sealed_folder.hpp"

#include "agent/base/file.hpp"

#include <cerrno>
#include <unistd.h>
#include <utility>

namespace penstock::store {
namespace {

constexpr const char* kLedger = "ledger";
constexpr const char* kFiles = "files"; // in the ledger: name -> id of the sealed text, hex
constexpr std::size_t kMaxLedger = 64U << 10;
constexpr std::size_t kMaxFile = 256U << 20;

// Its first bytes: as many as a seal has.
std::string head_of(const std::filesystem::path& path) {
    const auto fd = open_guarded(path);
    std::string bytes(kSealBytes, '\0');
    const auto got = fd ? ::read(fd->get(), bytes.data(), bytes.size()) : -1;
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return bytes;
}

bool is_there(const std::filesystem::path& path) {
    std::error_code error;
    return std::filesystem::exists(path, error) || error;
}

// What the ledger names; empty: nothing under this name.
std::string named_in(const nlohmann::json& ledger, const std::string& name) {
    return ledger.value(kFiles, nlohmann::json::object()).value(name, "");
}

std::string id_of(std::string_view sealed) { return is_sealed(sealed) ? hex(seal_id(sealed)) : ""; }

} // namespace

SealedFolder::SealedFolder(std::filesystem::path folder, const Keyring::Places& places)
    : folder_(std::move(folder)), places_(places), keys_(Keyring::load(places_)) {}

// Beside the key: whoever can write the state alone cannot make it look new.
std::filesystem::path SealedFolder::marker() const { return places_.file.string() + ".used"; }

bool SealedFolder::has_ledger() const { return is_there(path(kLedger)); }

bool SealedFolder::sealed_before(const std::vector<std::string>& names) const {
    if (has_ledger() || is_there(marker()))
        return true;
    for (const auto& name : names)
        if (is_sealed(head_of(path(name))))
            return true;
    return false;
}

Status SealedFolder::check() const {
    const bool before = sealed_before({});
    if (!keys_ && keys_.error().code() != ENOKEY)
        return tl::unexpected(keys_.error());
    if (!keys_ && before)
        return fail(keys_.error().message() + ", and what is in " + folder_.string() +
                        " is sealed with it; put it back, as a file or as the credential " + kCredential,
                    ENOKEY);
    if (before && !has_ledger())
        return fail(path(kLedger).string() +
                    " is gone, and with it what must not be forgotten; put it back, or to begin anew without a policy "
                    "delete " +
                    marker().string() + " and everything in " + folder_.string());
    return {};
}

Status SealedFolder::make_key() {
    if (auto ok = check(); keys_ || !ok)
        return ok;
    if (auto ok = Keyring::make_file(places_); !ok)
        return fail("there is no storage key, and none can be made (mend: openssl rand -hex 32 > " +
                        places_.file.string() + "; chmod 600 it)",
                    std::move(ok.error()));
    keys_ = Keyring::load(places_);
    return keys_ ? Status{} : tl::unexpected(keys_.error());
}

Status SealedFolder::open(const std::vector<std::string>& names, const std::function<Result<Change>()>& unsealed) {
    if (auto ok = make_key(); !ok)
        return ok;
    if (!has_ledger()) {
        if (sealed_before(names))
            return fail(path(kLedger).string() +
                        " is gone, and other files here are sealed; put it back, or to begin anew without a policy "
                        "delete everything in " +
                        folder_.string());
        const auto before = unsealed();
        if (!before)
            return tl::unexpected(before.error());
        opened_ = true;
        if (auto ok = commit(*before); !ok)
            return ok;
    }
    opened_ = true;
    const auto known = ledger();
    if (!known)
        return tl::unexpected(known.error());
    warnings_ = keys_->warnings();
    for (const auto& name : names) // what cannot be done now is read from where it is
        if (auto ok = settle(name, *known); !ok)
            warnings_.push_back(ok.error().message());
    if (auto ok = reseal(names); !ok)
        warnings_.push_back(ok.error().message());
    if (!is_there(marker()))
        if (auto ok = write_file_atomically(marker(), "What penstock keeps is sealed. Delete this only together with "
                                                      "all of it.\n");
            !ok)
            warnings_.push_back(ok.error().message());
    return {};
}

void SealedFolder::close(const std::string& why) {
    closed_ = true;
    keys_ = fail(why, ENOKEY);
}

// A change that was cut off: finished if the ledger knows of it, else as if it had never been. What cannot be read is
// left alone: it may be the one.
Status SealedFolder::settle(const std::string& name, const nlohmann::json& known) const {
    if (!is_there(next(name)))
        return {};
    const auto wanted = named_in(known, name);
    const auto head = head_of(next(name));
    std::error_code error;
    if (is_sealed(head) && id_of(head) == wanted)
        std::filesystem::rename(next(name), path(name), error);
    else if (!head.empty() || wanted.empty() || id_of(head_of(path(name))) == wanted)
        std::filesystem::remove(next(name), error);
    else
        return fail(next(name).string() + " cannot be read, and may be what the ledger names");
    return error ? fail_errno("cannot finish a change of " + path(name).string(), error.value()) : Status{};
}

// What cannot be opened is left as it is, for whoever needs it to say so.
Status SealedFolder::reseal(const std::vector<std::string>& names) {
    Change change;
    for (const auto& name : names)
        if (is_outdated(*keys_, head_of(path(name))))
            if (auto content = read(name, kMaxFile))
                change.files.push_back({name, std::move(*content)});
    return change.files.empty() && !is_outdated(*keys_, head_of(path(kLedger))) ? Status{} : commit(change);
}

Result<std::string> SealedFolder::unseal_as(const std::string& name, std::string_view sealed) const {
    if (!keys_)
        return fail(path(name).string() + ": " + keys_.error().message(), ENOKEY);
    auto content = unseal(*keys_, name, sealed);
    if (!content && content.error().code() == ENOKEY)
        return fail(path(name).string() + ": " + content.error().message() +
                        "; put that key back, or name its file in [storage] previous_keys",
                    ENOKEY);
    if (!content)
        return fail(path(name).string() + " was damaged or changed: its seal does not hold", content.error().code());
    return content;
}

// The text that the ledger names, wherever a change that was cut off left it. NAME.next first: while another thread or
// process makes a change, it is there until NAME is the new one.
Result<std::string> SealedFolder::read_sealed(const std::string& name, std::size_t limit) const {
    for (;;) {
        const auto known = ledger();
        if (!known)
            return tl::unexpected(known.error());
        const auto wanted = named_in(*known, name);
        if (auto bytes = read_guarded(next(name), limit + kSealBytes);
            bytes && !wanted.empty() && id_of(*bytes) == wanted)
            return bytes;
        auto bytes = read_guarded(path(name), limit + kSealBytes);
        if (!bytes && bytes.error().code() != ENOENT)
            return bytes;
        if (bytes && is_sealed(*bytes) && id_of(*bytes) == wanted)
            return bytes;
        if (const auto again = ledger(); again && named_in(*again, name) != wanted)
            continue; // it has changed meanwhile
        if (bytes && !is_sealed(*bytes) && sealed_before({}))
            return fail(path(name).string() + " is not sealed, so it is not the agent's; delete it", EBADMSG);
        if (bytes && is_sealed(*bytes))
            return fail(path(name).string() + " is not the one that the ledger names: it was rolled back, or is a " +
                            "copy; put the newest back, or delete it",
                        EBADMSG);
        return bytes;
    }
}

Result<std::string> SealedFolder::read(const std::string& name, std::size_t limit) const {
    if (closed_)
        return tl::unexpected(keys_.error());
    auto bytes = read_sealed(name, limit);
    if (!bytes || !is_sealed(*bytes))
        return bytes;
    return unseal_as(name, *bytes);
}

Result<nlohmann::json> SealedFolder::read_ledger() const {
    const auto bytes = read_guarded(path(kLedger), kMaxLedger + kSealBytes);
    if (!bytes)
        return tl::unexpected(bytes.error());
    if (!is_sealed(*bytes))
        return fail(path(kLedger).string() + " is not sealed, so it is not the agent's; put the right one back",
                    EBADMSG);
    const auto text = unseal_as(kLedger, *bytes);
    if (!text)
        return tl::unexpected(text.error());
    auto content = nlohmann::json::parse(*text, nullptr, false);
    if (!content.is_object())
        return fail(path(kLedger).string() + " is damaged", EBADMSG);
    return content;
}

// Of a folder that was not opened it is read each time: another process may own it.
Result<nlohmann::json> SealedFolder::ledger() const {
    if (closed_)
        return tl::unexpected(keys_.error());
    const std::lock_guard lock(ledger_->mutex);
    if (ledger_->known)
        return *ledger_->known;
    if (!has_ledger())
        return nlohmann::json::object();
    auto content = read_ledger();
    if (content && opened_)
        ledger_->known = *content;
    return content;
}

Result<nlohmann::json> SealedFolder::recall(const std::string& name) const {
    auto content = ledger();
    if (!content)
        return content;
    return content->value(name, nlohmann::json());
}

// After an error it may be on disk all the same: then it counts.
Status SealedFolder::write_ledger(nlohmann::json content) {
    const auto text = content.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (text.size() > kMaxLedger)
        return fail("the ledger would be larger than " + std::to_string(kMaxLedger) + " bytes", EFBIG);
    const auto sealed = seal(*keys_, kLedger, text);
    if (!sealed)
        return tl::unexpected(sealed.error());
    auto written = write_file_atomically(path(kLedger), *sealed);
    if (!written && id_of(head_of(path(kLedger))) == id_of(*sealed))
        written = {};
    if (written) {
        const std::lock_guard lock(ledger_->mutex);
        ledger_->known = std::move(content);
    }
    return written;
}

Status SealedFolder::write_change(const Change& change, nlohmann::json& content) const {
    for (const auto& [name, value] : change.entries.items())
        if (value.is_null())
            content.erase(name);
        else
            content[name] = value;
    for (const auto& file : change.files) {
        const auto sealed = seal(*keys_, file.name, file.content);
        if (!sealed)
            return fail("cannot seal " + path(file.name).string(), Error(sealed.error()));
        if (auto ok = write_file_atomically(next(file.name), *sealed); !ok)
            return ok;
        content[kFiles][file.name] = id_of(*sealed);
    }
    return {};
}

Status SealedFolder::can_commit() const {
    if (!keys_)
        return fail("cannot keep anything in " + folder_.string() + ": " + keys_.error().message(), ENOKEY);
    if (!opened_ && !has_ledger())
        return fail(path(kLedger).string() + " is not there");
    return {};
}

Status SealedFolder::commit(const Change& change) {
    const std::lock_guard writing(ledger_->writing);
    if (auto ok = can_commit(); !ok)
        return ok;
    auto content = ledger();
    if (!content)
        return tl::unexpected(content.error());
    for (const auto& file : change.files) // what it is written over must not be the only copy of what counts
        if (auto ok = settle(file.name, *content); !ok)
            return ok;
    auto done = write_change(change, *content);
    if (done)
        done = write_ledger(std::move(*content));
    std::error_code error; // a file that stays where it is will be found there
    for (const auto& file : change.files)
        if (done)
            std::filesystem::rename(next(file.name), path(file.name), error);
        else
            std::filesystem::remove(next(file.name), error);
    return done;
}

} // namespace penstock::store
