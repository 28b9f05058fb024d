// agent/store/sealed_folder: what is kept can neither be read nor changed nor swapped without the key, and is not lost
// with a new one.
#include "tests/unit/state_folder.hpp"

#include <atomic>
#include <cerrno>
#include <sys/stat.h>
#include <thread>

using namespace penstock;
using namespace penstock::store;
using penstock::test::error_of;
using penstock::test::StateFolder;

BOOST_FIXTURE_TEST_SUITE(store_sealed_folder, StateFolder)

BOOST_AUTO_TEST_CASE(what_is_written_is_read_and_nobody_else_reads_it) {
    const std::string content = "02:00:00:00:00:12 may reach 203.0.113.10";
    BOOST_REQUIRE(write_fresh("a", content));
    BOOST_TEST(*opened().read("a", 100) == content);
    const auto bytes = raw(folder / "a");
    BOOST_TEST(bytes.size() == content.size() + kSealBytes);
    for (const char* part : {"02:00", "203.0", "may reach"})
        BOOST_TEST(bytes.find(part) == std::string::npos);
    struct stat info{};
    BOOST_REQUIRE(::stat(places.file.c_str(), &info) == 0);
    BOOST_TEST((info.st_mode & 0777) == 0600);
    BOOST_TEST(raw(places.file).size() == 65U);
}

BOOST_AUTO_TEST_CASE(the_same_content_never_looks_the_same) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "content"));
    const auto before = raw(folder / "a");
    BOOST_REQUIRE(write(state, "a", "content"));
    const auto after = raw(folder / "a");
    BOOST_TEST(before.substr(0, 16) == after.substr(0, 16)); // what it is, and whose key
    BOOST_TEST(before.substr(16, 32) != after.substr(16, 32));
    BOOST_TEST(before.substr(48) != after.substr(48));
}

BOOST_AUTO_TEST_CASE(each_bit_counts) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "content"));
    const auto good = raw(folder / "a");
    for (std::size_t bit = 0; bit < good.size() * 8; bit++) {
        auto changed = good;
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
        put(folder / "a", changed);
        CHECK_REFUSED(state.read("a", 100), (folder / "a").string());
    }
    for (std::size_t size = 0; size < good.size(); size++) {
        put(folder / "a", good.substr(0, size));
        CHECK_REFUSED(state.read("a", 100), (folder / "a").string());
    }
    put(folder / "a", good + "x");
    CHECK_REFUSED(state.read("a", 100), "its seal does not hold");
}

BOOST_AUTO_TEST_CASE(two_files_cannot_change_places) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "of a"));
    BOOST_REQUIRE(write(state, "b", "of b"));
    std::filesystem::copy_file(folder / "b", folder / "a", std::filesystem::copy_options::overwrite_existing);
    CHECK_REFUSED(state.read("a", 100), (folder / "a").string(), "is a copy");
    BOOST_TEST(*state.read("b", 100) == "of b");
    BOOST_TEST(!unseal(*state.keys(), "a", raw(folder / "b")).has_value()); // also without the ledger
}

BOOST_AUTO_TEST_CASE(the_limit_is_of_the_content) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", std::string(100, 'x')));
    BOOST_TEST(state.read("a", 100)->size() == 100U);
    BOOST_TEST(state.read("a", 99).error().code() == EFBIG);
    BOOST_REQUIRE(write(state, "b", ""));
    BOOST_TEST(*state.read("b", 0) == "");
}

BOOST_AUTO_TEST_CASE(a_file_that_is_not_there_needs_no_key) {
    const SealedFolder unopened(folder, places);
    BOOST_TEST(unopened.read("a", 100).error().code() == ENOENT);
    BOOST_TEST(opened().read("a", 100).error().code() == ENOENT);
}

BOOST_AUTO_TEST_CASE(small_things_are_in_one_file) {
    auto state = opened();
    BOOST_TEST(state.recall("policy")->is_null());
    BOOST_REQUIRE(state.keep("policy", {{"version", 42}}));
    BOOST_REQUIRE(state.keep("witness", "10.20.0.12 to 203.0.113.10"));
    auto again = opened();
    BOOST_TEST((*again.recall("policy"))["version"] == 42);
    BOOST_TEST(*again.recall("witness") == "10.20.0.12 to 203.0.113.10");
    BOOST_REQUIRE(again.keep("witness", nullptr));
    BOOST_TEST(opened().recall("witness")->is_null());
    BOOST_TEST(raw(folder / "ledger").find("version") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_a_version_without_seals_left_is_sealed_once) {
    put(folder / "a", "from before");
    put(folder / "other", "nobody's");
    BOOST_TEST(*SealedFolder(folder, places).read("a", 100) == "from before");
    SealedFolder state(folder, places);
    BOOST_TEST(state.recall("version")->is_null()); // somebody looks before it is open
    BOOST_REQUIRE(
        state.open({"a", "b"}, [] { return SealedFolder::Change{{{"a", "from before"}}, {{"version", 7}}}; }));
    BOOST_TEST(*state.read("a", 100) == "from before");
    BOOST_TEST(*state.recall("version") == 7);
    BOOST_REQUIRE(state.keep("other", 1));
    BOOST_TEST(*opened().recall("version") == 7);
    BOOST_TEST(is_sealed(raw(folder / "a")));
    BOOST_TEST(raw(folder / "other") == "nobody's");
    // From then on, what is not sealed was put there by somebody else.
    put(folder / "a", "older, and signed, and not ours");
    CHECK_REFUSED(state.read("a", 100), "is not sealed");
    SealedFolder again(folder, places);
    BOOST_REQUIRE(again.open({"a", "b"}, [] { return Result<SealedFolder::Change>(fail("not twice")); }));
    CHECK_REFUSED(again.read("a", 100), "is not sealed");
}

BOOST_AUTO_TEST_CASE(a_first_start_that_cannot_seal_opens_nothing) {
    put(folder / "a", "from before");
    SealedFolder state(folder, places);
    const auto ok = state.open({"a"}, [] { return Result<SealedFolder::Change>(fail("no room")); });
    CHECK_REFUSED(ok, "no room");
    state.close("no room");
    CHECK_REFUSED(state.read("a", 100), "no room"); // the policy of before is not in force without its memory
    CHECK_REFUSED(state.recall("version"), "no room");
    BOOST_TEST(raw(folder / "a") == "from before");
    BOOST_TEST(!std::filesystem::exists(folder / "ledger"));
}

// The ledger decides: a file of before cannot come back alone, whatever it says of itself.
BOOST_AUTO_TEST_CASE(a_file_cannot_be_rolled_back_alone) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "first"));
    const auto first = raw(folder / "a");
    BOOST_REQUIRE(write(state, "a", "second"));
    put(folder / "a", first);
    for (const auto& reader : {SealedFolder(folder, places), opened()})
        CHECK_REFUSED(reader.read("a", 100), (folder / "a").string(), "rolled back");
    std::filesystem::remove(folder / "a");
    BOOST_TEST(opened().read("a", 100).error().code() == ENOENT);
    BOOST_REQUIRE(write_fresh("a", "third"));
    BOOST_TEST(*opened().read("a", 100) == "third");
}

// Each moment at which a power cut may come: all of the change is there, or nothing.
BOOST_AUTO_TEST_CASE(a_change_that_is_cut_off_counts_from_the_ledger_on) {
    auto state = opened();
    BOOST_REQUIRE(state.commit({{{"a", "old a"}, {"b", "old b"}}, {{"version", 1}}}));
    const auto old_ledger = raw(folder / "ledger"), old_a = raw(folder / "a"), old_b = raw(folder / "b");
    BOOST_REQUIRE(state.commit({{{"a", "new a"}, {"b", "new b"}}, {{"version", 2}}}));
    const auto new_ledger = raw(folder / "ledger"), new_a = raw(folder / "a"), new_b = raw(folder / "b");
    struct Moment {
        std::string a, a_next, b, b_next, ledger, expected;
    };
    const std::vector<Moment> moments = {
        {old_a, new_a.substr(0, 70), old_b, "", old_ledger, "old"}, // half written, though rename() does not allow it
        {old_a, new_a, old_b, "", old_ledger, "old"},
        {old_a, new_a, old_b, new_b, old_ledger, "old"},
        {old_a, new_a, old_b, new_b, new_ledger, "new"},
        {new_a, "", old_b, new_b, new_ledger, "new"},
        {new_a, "", new_b, "", new_ledger, "new"},
    };
    for (const auto& moment : moments) {
        const auto set = [&](const char* name, const std::string& bytes) {
            std::filesystem::remove(folder / name);
            if (!bytes.empty())
                put(folder / name, bytes);
        };
        set("a", moment.a);
        set("a.next", moment.a_next);
        set("b", moment.b);
        set("b.next", moment.b_next);
        set("ledger", moment.ledger);
        const auto whole = [&](const SealedFolder& reader) {
            BOOST_TEST(*reader.read("a", 100) == moment.expected + " a");
            BOOST_TEST(*reader.read("b", 100) == moment.expected + " b");
            BOOST_TEST(*reader.recall("version") == (moment.expected == "old" ? 1 : 2));
        };
        whole(SealedFolder(folder, places)); // without being its owner
        whole(opened());
        BOOST_TEST(!std::filesystem::exists(folder / "a.next"));
        BOOST_TEST(!std::filesystem::exists(folder / "b.next"));
        whole(SealedFolder(folder, places));
    }
}

BOOST_AUTO_TEST_CASE(a_change_that_the_ledger_does_not_take_is_none) {
    auto state = opened();
    BOOST_REQUIRE(state.commit({{{"a", "old"}}, {{"version", 1}}}));
    const std::string too_much(100'000, 'x');
    CHECK_REFUSED(state.commit({{{"a", "new"}}, {{"version", 2}, {"more", too_much}}}), "larger than");
    for (const auto& reader : {SealedFolder(folder, places), opened()}) {
        BOOST_TEST(*reader.read("a", 100) == "old");
        BOOST_TEST(*reader.recall("version") == 1);
    }
    BOOST_TEST(!std::filesystem::exists(folder / "a.next"));
    BOOST_TEST(*state.recall("version") == 1);
}

// The file that the ledger names may still be NAME.next, where renaming it failed: no later change may take it away.
BOOST_AUTO_TEST_CASE(what_could_not_be_renamed_outlives_the_next_change) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "first"));
    BOOST_REQUIRE(write(state, "a", "second"));
    const auto second = raw(folder / "a");
    const auto cut_off = [&] { // a folder cannot be replaced by a file
        std::filesystem::remove_all(folder / "a");
        std::filesystem::create_directories(folder / "a/b");
        put(folder / "a.next", second);
    };
    cut_off();
    CHECK_REFUSED(write(state, "a", "third"), "cannot finish a change");
    BOOST_TEST(raw(folder / "a.next") == second);
    std::filesystem::remove_all(folder / "a");
    BOOST_TEST(*opened().read("a", 100) == "second");
    // And one that cannot be read may be the one.
    cut_off();
    std::filesystem::remove_all(folder / "a");
    BOOST_REQUIRE(::chmod((folder / "a.next").c_str(), 0666) == 0);
    BOOST_TEST(opened().warnings().size() == 1U);
    BOOST_REQUIRE(::chmod((folder / "a.next").c_str(), 0600) == 0);
    BOOST_TEST(*opened().read("a", 100) == "second");
    BOOST_REQUIRE(write_fresh("a", "third"));
    BOOST_TEST(*opened().read("a", 100) == "third");
}

BOOST_AUTO_TEST_CASE(who_reads_during_a_change_reads_one_or_the_other) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "text 0"));
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        for (int i = 1; i <= 300; i++)
            if (!write(state, "a", "text " + std::to_string(i)))
                break;
        stop = true;
    });
    std::size_t reads = 0, bad = 0;
    while (!stop) {
        const auto content = state.read("a", 100);
        const auto other = SealedFolder(folder, places).read("a", 100); // another process
        bad += !content || !content->starts_with("text ") || !other ? 1 : 0;
        reads++;
    }
    writer.join();
    BOOST_TEST(bad == 0U);
    BOOST_TEST(reads > 10U);
    BOOST_TEST(*state.read("a", 100) == "text 300");
}

BOOST_AUTO_TEST_CASE(what_is_no_file_holds_nobody_up) {
    BOOST_REQUIRE(write_fresh("a", "kept"));
    std::filesystem::remove(folder / "a");
    BOOST_REQUIRE(::mkfifo((folder / "a").c_str(), 0600) == 0);
    const auto state = opened();
    CHECK_REFUSED(state.read("a", 100), "is not a file");
}

// Whatever is left of the folder: without its ledger it is not new.
BOOST_AUTO_TEST_CASE(a_folder_that_was_sealed_never_looks_new) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "kept"));
    BOOST_REQUIRE(state.keep("policy", 42));
    const auto ledger = raw(folder / "ledger");
    std::filesystem::remove(folder / "ledger");
    const auto refused = [&] {
        SealedFolder other(folder, places);
        CHECK_REFUSED(other.open({"a", "b"}, nothing), (folder / "ledger").string() + " is gone");
        BOOST_TEST(!other.keep("policy", 1));
        BOOST_TEST(!std::filesystem::exists(folder / "ledger"));
    };
    refused();
    put(folder / "a", "unsealed");
    refused();
    CHECK_REFUSED(SealedFolder(folder, places).read("a", 100), "is not sealed");
    std::filesystem::remove(folder / "a");
    refused(); // the marker is beside the key
    put(folder / "ledger", ledger);
    std::filesystem::remove(places.file.string() + ".used");
    BOOST_TEST(*opened().recall("policy") == 42);
    BOOST_TEST(std::filesystem::exists(places.file.string() + ".used"));
    // A key beside which nothing can be written: what is sealed tells by itself.
    BOOST_REQUIRE(write_fresh("b", "kept"));
    std::filesystem::remove(folder / "ledger");
    std::filesystem::remove(places.file.string() + ".used");
    refused();
}

BOOST_AUTO_TEST_CASE(a_ledger_that_was_changed_is_not_replaced) {
    auto state = opened();
    BOOST_REQUIRE(state.keep("policy", 42));
    const auto good = raw(folder / "ledger");
    auto changed = good;
    changed.back() = static_cast<char>(changed.back() ^ 1);
    for (const auto& bytes : {changed, good.substr(0, 70), std::string("{}"), std::string()}) {
        put(folder / "ledger", bytes);
        SealedFolder other(folder, places);
        CHECK_REFUSED(other.open({"a"}, nothing), (folder / "ledger").string());
        BOOST_TEST(!other.keep("policy", 1));
        BOOST_TEST(raw(folder / "ledger") == bytes);
    }
}

BOOST_AUTO_TEST_CASE(what_was_closed_gives_nothing_away) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "kept"));
    BOOST_REQUIRE(state.keep("policy", 42));
    state.close("part of it was put back");
    CHECK_REFUSED(state.read("a", 100), "part of it was put back");
    CHECK_REFUSED(state.recall("policy"), "part of it was put back");
    CHECK_REFUSED(write(state, "a", "x"), "part of it was put back");
    CHECK_REFUSED(state.keep("policy", 1), "part of it was put back");
    CHECK_REFUSED(state.read("b", 100), "part of it was put back");
    BOOST_TEST(*opened().recall("policy") == 42);
}

BOOST_AUTO_TEST_CASE(a_new_key_seals_everything_anew) {
    BOOST_REQUIRE(write_fresh("a", "kept"));
    const auto old_id = raw(folder / "a").substr(8, 8);
    rotate();
    BOOST_TEST(*opened().read("a", 100) == "kept");
    BOOST_TEST(raw(folder / "a").substr(8, 8) != old_id);
    BOOST_TEST(raw(folder / "ledger").substr(8, 8) == raw(folder / "a").substr(8, 8));
    places.previous.clear(); // and the old one can go
    BOOST_TEST(*opened().read("a", 100) == "kept");
}

BOOST_AUTO_TEST_CASE(another_key_opens_nothing_and_says_whose_it_was) {
    auto state = opened();
    BOOST_REQUIRE(write(state, "a", "kept"));
    const auto id = hex(state.keys()->current().id);
    rotate();
    places.previous.clear();
    SealedFolder other(folder, places);
    CHECK_REFUSED(other.open({"a"}, nothing), "sealed with the key " + id, "previous_keys");
    CHECK_REFUSED(other.read("a", 100), "sealed with the key " + id);
    BOOST_TEST(raw(folder / "a").substr(8, 8) == state.keys()->current().id);
}

BOOST_AUTO_TEST_CASE(a_key_that_is_lost_is_not_replaced_in_silence) {
    BOOST_REQUIRE(write_fresh("a", "kept"));
    std::filesystem::remove(places.file);
    SealedFolder state(folder, places);
    CHECK_REFUSED(state.open({"a"}, nothing), places.file.string(), "put it back");
    CHECK_REFUSED(state.check(), "put it back");
    CHECK_REFUSED(write(state, "a", "x"), places.file.string());
    BOOST_TEST(state.read("a", 100).error().code() == ENOKEY); // it is there: that is not ENOENT
    BOOST_TEST(state.recall("policy").error().code() == ENOKEY);
    BOOST_TEST(!std::filesystem::exists(places.file));
}

BOOST_AUTO_TEST_CASE(only_the_current_key_is_needed) {
    BOOST_REQUIRE(write_fresh("a", "kept"));
    rotate();
    places.previous.push_back(top / "absent");
    auto state = opened();
    BOOST_TEST(*state.read("a", 100) == "kept");
    BOOST_REQUIRE(state.warnings().size() == 1U);
    BOOST_TEST(test::has(state.warnings().front(), (top / "absent").string()));
    std::filesystem::remove(places.previous.front()); // it can go, and its line stay
    BOOST_TEST(*opened().read("a", 100) == "kept");
}

BOOST_AUTO_TEST_CASE(a_key_must_be_one_and_be_secret) {
    const auto refused = [&](const std::string& text, const std::string& why) {
        put(places.file, text);
        CHECK_REFUSED(SealedFolder(folder, places).check(), places.file.string(), why);
    };
    for (const auto& text : {std::string(), std::string(63, 'a'), std::string(65, 'a'), std::string(63, 'a') + "g",
                             std::string(64, 'a') + "\nb"})
        refused(text, "64 hex digits");
    put(places.file, std::string(64, 'A') + "\r\n");
    BOOST_TEST(SealedFolder(folder, places).check().has_value());
    BOOST_REQUIRE(::chmod(places.file.c_str(), 0644) == 0);
    CHECK_REFUSED(SealedFolder(folder, places).check(), "chmod 600");
}

BOOST_AUTO_TEST_CASE(the_credential_of_systemd_comes_first_and_the_file_still_opens) {
    BOOST_REQUIRE(write_fresh("a", "kept"));
    const auto credentials = top / "credentials";
    std::filesystem::create_directory(credentials);
    put(credentials / "penstock.storage-key", std::string(64, '7') + "\n");
    BOOST_REQUIRE(::setenv("CREDENTIALS_DIRECTORY", credentials.c_str(), 1) == 0);
    auto state = opened();
    BOOST_TEST(state.keys()->current().source == "credential");
    BOOST_TEST(*state.read("a", 100) == "kept");
    put(places.file, "half overwri"); // sealed anew, so it may go, and how does not matter
    BOOST_TEST(*opened().read("a", 100) == "kept");
    BOOST_TEST(opened().warnings().size() == 1U);
    std::filesystem::remove(places.file);
    BOOST_TEST(*opened().read("a", 100) == "kept");
    BOOST_REQUIRE(::unsetenv("CREDENTIALS_DIRECTORY") == 0);
}

BOOST_AUTO_TEST_SUITE_END()
