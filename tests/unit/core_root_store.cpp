// agent/core/root_store: the root in force is the configuration's and every verified step since, over restarts.
#include "agent/base/file.hpp"
#include "agent/core/root_store.hpp"
#include "tests/unit/bundle_fixture.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace penstock;
using namespace penstock::policy;
using penstock::core::RootStore;
using penstock::test::envelope;
using penstock::test::make_key;
using penstock::test::make_root;

namespace {

struct Gateway {
    PrivateKey a = make_key(), b = make_key(), c = make_key(), policy = make_key(), other = make_key();
    std::string one = sign(make_root(1, {&a}, 1, policy), {&a});
    std::string two = sign(make_root(2, {&a, &b}, 2, policy), {&a, &b});
    std::string three = sign(make_root(3, {&b, &c}, 2, policy), {&a, &b, &c});
    std::string four = sign(make_root(4, {&c}, 1, other), {&b, &c});
    Time now = *parse_time("2026-11-22T00:00:00Z");
    std::filesystem::path folder;
    core::Config config;

    Gateway() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        BOOST_REQUIRE(::mkdtemp(name) != nullptr);
        folder = name;
        config.root = folder / "root.json";
        config.state = folder / "state";
        config.storage.file = folder / "storage.key";
        std::filesystem::create_directory(config.state);
        BOOST_REQUIRE(state().open({}, [] { return store::SealedFolder::Change{}; }));
        install(one);
    }
    ~Gateway() { std::filesystem::remove_all(folder); }

    static std::string sign(const Root& root, std::initializer_list<const PrivateKey*> keys) {
        return envelope(kRootPayloadType, root.to_payload(), keys);
    }
    void install(const std::string& root) const { BOOST_REQUIRE(write_file_atomically(config.root, root)); }
    // As after a restart.
    [[nodiscard]] store::SealedFolder& state() const {
        state_ = std::make_unique<store::SealedFolder>(config.state, config.storage);
        return *state_;
    }
    [[nodiscard]] auto take(const std::string& chain, bool dry_run = false) const {
        return RootStore(config, state()).take(chain, now, dry_run);
    }
    // As after a restart.
    [[nodiscard]] std::uint64_t version() const {
        const auto root = RootStore(config, state()).load();
        return root ? root->version : 0;
    }
    [[nodiscard]] std::filesystem::path chain() const { return config.state / "root.chain"; }

private:
    mutable std::unique_ptr<store::SealedFolder> state_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(core_root_store, Gateway)

BOOST_AUTO_TEST_CASE(three_roots_behind_it_catches_up_at_once) {
    const auto taken = take(one + "\n" + two + "\n" + three + "\n" + four);
    BOOST_REQUIRE_MESSAGE(taken, (taken ? "" : taken.error().message));
    BOOST_TEST(taken->before == 1U);
    BOOST_TEST(taken->root.version == 4U);
    BOOST_TEST(version() == 4U);
}

BOOST_AUTO_TEST_CASE(one_root_after_the_other_is_the_same) {
    for (const auto* next : {&two, &three, &four})
        BOOST_REQUIRE(take(*next));
    BOOST_TEST(version() == 4U);
    BOOST_TEST(take(one + "\n" + two + "\n" + three + "\n" + four)->already_in_force);
}

BOOST_AUTO_TEST_CASE(what_is_refused_changes_nothing) {
    BOOST_REQUIRE(take(two));
    const auto before = *read_file(chain(), 1 << 20);
    BOOST_CHECK(take(four).error().refusal == Refusal::root_version_skipped);
    BOOST_CHECK(take(one).error().refusal == Refusal::root_rollback);
    BOOST_CHECK(take(three + "\n" + one).error().refusal == Refusal::root_rollback);
    BOOST_CHECK(take(sign(make_root(3, {&c}, 1, policy), {&c})).error().refusal == Refusal::unknown_key);
    BOOST_CHECK(take("{").error().refusal == Refusal::not_an_envelope);
    now = *parse_time("2028-01-01T00:00:00Z");
    BOOST_CHECK(take(three).error().refusal == Refusal::root_expired);
    BOOST_TEST(*read_file(chain(), 1 << 20) == before);
    BOOST_TEST(version() == 2U);
}

BOOST_AUTO_TEST_CASE(a_dry_run_stores_nothing) {
    BOOST_TEST(take(two, true)->root.version == 2U);
    BOOST_TEST(version() == 1U);
    BOOST_TEST(!std::filesystem::exists(chain()));
}

// The file is replaced in one step, so a crash leaves what was there before, perhaps beside a file that nobody reads.
BOOST_AUTO_TEST_CASE(what_a_crash_left_beside_the_chain_is_not_read) {
    BOOST_REQUIRE(take(two));
    std::ofstream(config.state / ".penstock.a1b2c3") << three.substr(0, three.size() / 2);
    BOOST_TEST(version() == 2U);
    BOOST_TEST(take(three)->root.version == 3U);
    BOOST_TEST(version() == 3U);
}

BOOST_AUTO_TEST_CASE(a_chain_that_cannot_be_stored_is_not_in_force) {
    std::filesystem::remove_all(config.state);
    const auto taken = take(two);
    BOOST_REQUIRE(!taken);
    BOOST_CHECK(taken.error().refusal == Refusal::gateway_unable);
    BOOST_TEST(version() == 1U);
}

BOOST_AUTO_TEST_CASE(a_newer_root_in_the_configuration_counts) {
    BOOST_REQUIRE(take(two));
    install(one + "\n" + two + "\n" + three);
    BOOST_TEST(version() == 3U);
    BOOST_TEST(take(four)->before == 3U);
    BOOST_TEST(version() == 4U);
}

BOOST_AUTO_TEST_CASE(a_chain_that_was_spoiled_is_told_and_nothing_older_is_trusted) {
    BOOST_REQUIRE(take(two + "\n" + three));
    const auto sealed = *read_file(chain(), 1 << 20), good = *state().read("root.chain", 1 << 20);
    for (const auto& spoiled : {sealed.substr(0, sealed.size() - 1), std::string(), good}) {
        BOOST_REQUIRE(write_file_atomically(chain(), spoiled));
        CHECK_REFUSED(RootStore(config, state()).load(), chain().string());
    }
    for (const auto& spoiled :
         {good.substr(0, good.size() - 1), std::string(), three, test::replaced(good, "\"sig\":\"", "\"sig\":\"AA")}) {
        BOOST_REQUIRE(state().commit({{{"root.chain", spoiled}}, nlohmann::json::object()}));
        CHECK_REFUSED(RootStore(config, state()).load(), chain().string());
        BOOST_CHECK(take(four).error().refusal == Refusal::gateway_unable);
    }
}

// Whatever brought it: a chain of a version that kept no ledger, or the configuration.
BOOST_AUTO_TEST_CASE(what_counts_at_a_start_is_not_forgotten_either) {
    install(one + "\n" + two + "\n" + three);
    BOOST_REQUIRE(RootStore(config, state()).remember());
    install(one);
    CHECK_REFUSED(RootStore(config, state()).load(), "root version 3 was in force", config.root.string());
    CHECK_REFUSED(RootStore(config, state()).remember(), "root version 3 was in force");
    install(one + "\n" + two + "\n" + three);
    BOOST_TEST(version() == 3U);
}

// Also by whoever takes the chain away, or puts an older one back.
BOOST_AUTO_TEST_CASE(a_root_that_was_in_force_is_not_forgotten) {
    BOOST_REQUIRE(take(two));
    const auto older = *read_file(chain(), 1 << 20);
    BOOST_REQUIRE(take(three));
    const auto newer = *read_file(chain(), 1 << 20);
    BOOST_REQUIRE(write_file_atomically(chain(), older));
    CHECK_REFUSED(RootStore(config, state()).load(), chain().string(), "rolled back");
    std::filesystem::remove(chain());
    CHECK_REFUSED(RootStore(config, state()).load(), "root version 3 was in force");
    BOOST_CHECK(take(four).error().refusal == Refusal::gateway_unable);
    install(one + "\n" + two + "\n" + three); // as the sentence says
    BOOST_TEST(version() == 3U);
    install(one);
    BOOST_REQUIRE(write_file_atomically(chain(), newer));
    BOOST_TEST(version() == 3U);
}

BOOST_AUTO_TEST_SUITE_END()
