// What the agent keeps over restarts: large things in a sealed file each, small ones together in one, the ledger. The
// ledger also names the one sealed text that each file must hold. So nothing can be rolled back without the rest, and a
// change of several things is one: it counts once the ledger is on disk.
//
// A change first writes NAME.next, then the ledger, then renames. After a crash before the ledger nothing has changed;
// after it, NAME.next is what the ledger names and is read in place of NAME.
#pragma once

#include "agent/store/seal.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::store {

class SealedFolder {
public:
    struct File {
        std::string name, content;
    };
    // Any number of files, and entries of the ledger (null: without it).
    struct Change {
        std::vector<File> files;
        nlohmann::json entries = nlohmann::json::object();
    };

    // Reads the keys and creates nothing. A missing key is an error of the first call that needs it.
    SealedFolder(std::filesystem::path folder, const Keyring::Places& places);

    // For the one process that owns the folder, before another thread uses this. Where nothing was ever sealed: makes
    // the key, and the ledger with what a version without seals left (`unsealed`). Seals anew what a previous key
    // sealed. A ledger that is gone is an error: what it knew is not forgotten in silence.
    Status open(const std::vector<std::string>& names, const std::function<Result<Change>()>& unsealed);
    // Everything fails for this reason from here on, until the next start. Before another thread uses this.
    void close(const std::string& why);
    // What open() could not do and can go without.
    [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
    // Whether open() would find key and ledger, as far as can be told without changing anything.
    [[nodiscard]] Status check() const;

    // limit: bytes of the content. ENOENT: no such file. ENOKEY: it cannot be opened. EBADMSG: it was changed, rolled
    // back, or is another file's.
    [[nodiscard]] Result<std::string> read(const std::string& name, std::size_t limit) const;
    // Of the ledger; null: nothing was kept under this name. From any thread; waits for no disk once it is open.
    [[nodiscard]] Result<nlohmann::json> recall(const std::string& name) const;
    // Whether there are key and ledger; the disk is not asked.
    [[nodiscard]] Status can_commit() const;
    // All of it is on disk when it returns, or none of it. From any thread.
    Status commit(const Change& change);
    Status keep(const std::string& name, nlohmann::json value) { return commit({{}, {{name, std::move(value)}}}); }

    [[nodiscard]] const Result<Keyring>& keys() const { return keys_; }
    [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_ / name; }

private:
    Status make_key();
    Status reseal(const std::vector<std::string>& names);
    [[nodiscard]] Status settle(const std::string& name, const nlohmann::json& known) const;
    [[nodiscard]] bool has_ledger() const;
    [[nodiscard]] bool sealed_before(const std::vector<std::string>& names) const;
    [[nodiscard]] std::filesystem::path marker() const;
    [[nodiscard]] std::filesystem::path next(const std::string& name) const { return path(name + ".next"); }
    [[nodiscard]] Result<std::string> read_sealed(const std::string& name, std::size_t limit) const;
    [[nodiscard]] Result<std::string> unseal_as(const std::string& name, std::string_view sealed) const;
    [[nodiscard]] Result<nlohmann::json> read_ledger() const;
    [[nodiscard]] Result<nlohmann::json> ledger() const;
    Status write_ledger(nlohmann::json content);
    Status write_change(const Change& change, nlohmann::json& content) const;

    std::filesystem::path folder_;
    Keyring::Places places_;
    Result<Keyring> keys_;
    std::vector<std::string> warnings_;
    bool opened_ = false, closed_ = false;
    struct Ledger {
        std::mutex writing; // one after the other
        std::mutex mutex;   // of what follows
        std::optional<nlohmann::json> known;
    };
    std::unique_ptr<Ledger> ledger_ = std::make_unique<Ledger>();
};

} // namespace penstock::store
