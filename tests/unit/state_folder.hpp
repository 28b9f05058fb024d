// A folder for one case, with the storage key beside it.
#pragma once

#include "agent/base/file.hpp"
#include "agent/store/sealed_folder.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>

namespace penstock::test {

struct StateFolder {
    std::filesystem::path top, folder;
    store::Keyring::Places places;

    StateFolder() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        BOOST_REQUIRE(::mkdtemp(name) != nullptr);
        top = name;
        folder = top / "state";
        std::filesystem::create_directory(folder);
        places.file = top / "storage.key";
    }
    StateFolder(const StateFolder&) = delete;
    StateFolder& operator=(const StateFolder&) = delete;
    ~StateFolder() { std::filesystem::remove_all(top); }

    // As an agent that starts.
    [[nodiscard]] store::SealedFolder opened(const std::vector<std::string>& names = {"a", "b"}) const {
        store::SealedFolder out(folder, places);
        const auto ok = out.open(names, nothing);
        BOOST_REQUIRE_MESSAGE(ok, error_of(ok));
        return out;
    }
    static Result<store::SealedFolder::Change> nothing() { return store::SealedFolder::Change{}; }
    // As an agent that starts, writes and is killed.
    Status write_fresh(const std::string& name, const std::string& content) const {
        auto state = opened();
        return write(state, name, content);
    }
    static Status write(store::SealedFolder& state, const std::string& name, const std::string& content) {
        return state.commit({{{name, content}}, nlohmann::json::object()});
    }
    void put(const std::filesystem::path& path, const std::string& bytes) const {
        BOOST_REQUIRE(write_file_atomically(path, bytes));
    }
    [[nodiscard]] std::string raw(const std::filesystem::path& path) const { return *read_file(path, 1U << 24); }
    // The key of now becomes a previous one.
    void rotate() {
        const auto old = top / ("old" + std::to_string(places.previous.size()));
        std::filesystem::rename(places.file, old);
        places.previous.insert(places.previous.begin(), old);
        BOOST_REQUIRE(store::Keyring::make_file(places));
    }
};

} // namespace penstock::test
