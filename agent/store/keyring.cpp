#include "agent/store/keyring.hpp"

#include "agent/base/file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace penstock::store {
namespace {

constexpr std::size_t kMaxBytes = 4096;

Result<StorageKey> parse(std::string text, const std::filesystem::path& path, std::string_view source) {
    text.erase(text.find_last_not_of(" \t\r\n") + 1);
    const Wipe text_gone(text);
    const auto key = Key::from_hex(text);
    if (!key)
        return fail(path.string() + " is no storage key: it must be 64 hex digits, as `openssl rand -hex 32` makes");
    auto id = derive(*key, "", "penstock storage key id", kKeyIdBytes);
    if (!id)
        return tl::unexpected(id.error());
    return StorageKey{*key, std::move(*id), source};
}

Result<StorageKey> load_file(const std::filesystem::path& path) {
    auto text = read_guarded(path, kMaxBytes, true);
    if (!text)
        return tl::unexpected(text.error());
    return parse(std::move(*text), path, "file");
}

// systemd keeps credentials in a folder that only the service's user can enter.
Result<StorageKey> load_credential() {
    const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
    if (folder == nullptr)
        return fail("no credential", ENOENT);
    const auto path = std::filesystem::path(folder) / kCredential;
    auto text = read_file(path, kMaxBytes);
    if (!text)
        return tl::unexpected(text.error());
    return parse(std::move(*text), path, "credential");
}

} // namespace

std::string hex(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
        out += kDigits[static_cast<unsigned char>(c) >> 4];
        out += kDigits[static_cast<unsigned char>(c) & 15];
    }
    return out;
}

bool is_in_credential_store() {
    for (const char* folder : {"/etc/credstore.encrypted", "/run/credstore.encrypted", "/usr/lib/credstore.encrypted",
                               "/etc/credstore", "/run/credstore", "/usr/lib/credstore"}) {
        std::error_code error;
        if (std::filesystem::exists(std::filesystem::path(folder) / kCredential, error))
            return true;
    }
    return false;
}

Result<Keyring> Keyring::load(const Places& places) {
    Keyring ring;
    auto credential = load_credential();
    if (!credential && credential.error().code() != ENOENT)
        return tl::unexpected(credential.error());
    auto file = load_file(places.file);
    const bool absent = !file && file.error().code() == ENOENT;
    if (!credential && !file)
        return fail(absent ? "the storage key " + places.file.string() + " is not there" : file.error().message(),
                    absent ? ENOKEY : EINVAL);
    if (credential)
        ring.keys_.push_back(std::move(*credential));
    if (file)
        ring.keys_.push_back(std::move(*file));
    else if (!absent)
        ring.warnings_.push_back(file.error().message());
    for (const auto& path : places.previous)
        if (auto key = load_file(path))
            ring.keys_.push_back(std::move(*key));
        else
            ring.warnings_.push_back("a previous storage key: " + key.error().message());
    return ring;
}

Status Keyring::make_file(const Places& places) {
    const auto key = Key::random();
    if (!key)
        return tl::unexpected(key.error());
    auto text = hex(key->bytes()) + "\n";
    const Wipe text_gone(text);
    return write_file_atomically(places.file, text, 0600, Existing::refuse);
}

const StorageKey* Keyring::find(std::string_view id) const {
    const auto found = std::ranges::find(keys_, id, &StorageKey::id);
    return found == keys_.end() ? nullptr : &*found;
}

} // namespace penstock::store
