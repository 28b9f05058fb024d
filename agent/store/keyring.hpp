// The storage keys of this gateway: the one that seals, and those of before that still open.
#pragma once

#include "agent/store/aead.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::store {

inline constexpr std::size_t kKeyIdBytes = 8;
// A credential of systemd (systemd.exec(5), LoadCredentialEncrypted=): bound to the machine's TPM where it has one.
inline constexpr const char* kCredential = "penstock.storage-key";

struct StorageKey {
    Key key;
    std::string id;          // 8 bytes, derived from the key; says nothing about it
    std::string_view source; // "credential" or "file"
};

class Keyring {
public:
    // A file holds 64 hex digits and perhaps a newline; it is refused if others may read it.
    struct Places {
        std::filesystem::path file;
        std::vector<std::filesystem::path> previous;
    };
    // The current key is the credential if systemd hands one over, else the file. ENOKEY: neither exists. Another key
    // that cannot be read is a warning only: what it sealed says so when it is asked for.
    static Result<Keyring> load(const Places& places);
    // Writes a new random key to the file, which must not be there.
    static Status make_file(const Places& places);

    [[nodiscard]] const StorageKey& current() const { return keys_.front(); }
    [[nodiscard]] const StorageKey* find(std::string_view id) const;
    [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }

private:
    std::vector<StorageKey> keys_;
    std::vector<std::string> warnings_;
};

// The key is in systemd's credential store, which opens it for the service alone: no other process has it.
bool is_in_credential_store();

std::string hex(std::string_view bytes);

} // namespace penstock::store
