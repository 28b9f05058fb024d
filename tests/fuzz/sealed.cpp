// What is kept on disk, after somebody had the disk: a sealed text, and a file of the audit log.
#include "agent/store/seal.hpp"

#include "agent/store/audit_file.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace penstock;

namespace {

const store::Keyring& keys(const fuzz::Folder& folder) {
    static const auto ring = store::Keyring::load({folder.write("storage.key", std::string(64, '5') + "\n"), {}});
    return *ring;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fuzz::Folder folder;
    const auto bytes = fuzz::text(data, size);
    const auto& ring = keys(folder);
    (void)store::is_outdated(ring, bytes);
    fuzz::require(!store::unseal(ring, "bundle", bytes), "nobody without the key makes a seal");
    (void)store::AuditFile::read(folder.write("audit", bytes), ring);
    // Below the seal, where only the length before it is a stranger's.
    if (const auto sealed = store::seal_record(ring, bytes)) {
        const auto torn = store::framed(*sealed).append(bytes);
        const auto file = store::AuditFile::read(folder.write("audit", torn), ring);
        fuzz::require(file && (file->records.empty() || file->records.front().sealed == *sealed),
                      "a record is found as it was written");
    }
    return 0;
}
