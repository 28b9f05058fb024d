// agent/store/audit_log: whatever is done to the log without its key is found, a crash is not taken for it, and old
// records go in whole files.
#include "agent/store/audit_log.hpp"

#include "agent/base/utc.hpp"
#include "tests/unit/state_folder.hpp"

#include <algorithm>
#include <unistd.h>

using namespace penstock;
using namespace penstock::store;
using penstock::test::error_of;

namespace {

struct Log : test::StateFolder {
    std::string time = "2026-11-22T12:00:00.000Z";
    AuditLog::Expected expected;
    AuditLog::Limits limits{.file_bytes = 1000, .total_bytes = 1U << 20, .keep = std::chrono::hours(24 * 36500)};

    // As agents that start and are killed: one for each record.
    void append(int count) {
        for (int i = 0; i < count; i++) {
            SealedFolder state(folder, places);
            BOOST_REQUIRE(state.open({}, nothing));
            const auto ok =
                AuditLog(state, limits).append({{"event", "policy_in_force"}, {"version", ++last_}, {"time", time}});
            BOOST_REQUIRE_MESSAGE(ok, error_of(ok));
        }
    }
    [[nodiscard]] AuditLog::Report report() const {
        SealedFolder state(folder, places);
        auto out = AuditLog(state, limits).verify(expected);
        BOOST_REQUIRE_MESSAGE(out, error_of(out));
        return *out;
    }
    void whole(std::uint64_t records) const {
        const auto found = report();
        BOOST_TEST(found.problems.empty(), (found.problems.empty() ? "" : found.problems.front()));
        BOOST_TEST(found.records == records);
    }
    void says(const std::string& part) const {
        const auto found = report().problems;
        const bool said = std::ranges::any_of(found, [&](const auto& one) { return test::has(one, part); });
        BOOST_TEST(said, "expected \"" << part << "\" in: " << (found.empty() ? "nothing" : found.front()));
    }
    [[nodiscard]] std::vector<std::filesystem::path> files() const {
        std::vector<std::filesystem::path> out;
        for (const auto& entry : std::filesystem::directory_iterator(folder / "audit"))
            out.push_back(entry.path());
        std::ranges::sort(out);
        return out;
    }
    // The sealed records of a file, each with its length.
    [[nodiscard]] std::vector<std::string> records(const std::filesystem::path& path) const {
        const auto bytes = raw(path);
        std::vector<std::string> out;
        for (std::size_t at = 0; at < bytes.size(); at += out.back().size()) {
            std::size_t size = 0;
            for (std::size_t i = 0; i < 4; i++)
                size = size << 8 | static_cast<unsigned char>(bytes[at + i]);
            out.push_back(bytes.substr(at, 4 + size));
        }
        return out;
    }
    void put_records(const std::filesystem::path& path, const std::vector<std::string>& all) const {
        std::string bytes;
        for (const auto& one : all)
            bytes += one;
        put(path, bytes);
    }

private:
    int last_ = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(store_audit_log, Log)

BOOST_AUTO_TEST_CASE(what_is_appended_is_read_in_order) {
    append(40);
    whole(40);
    BOOST_TEST(files().size() > 3U);
    SealedFolder state(folder, places);
    std::vector<int> versions;
    BOOST_REQUIRE(
        AuditLog(state, limits).verify({}, [&](const auto& record) { versions.push_back(record["version"]); }));
    BOOST_TEST(versions.size() == 40U);
    BOOST_TEST(std::ranges::is_sorted(versions));
    for (const auto& file : files())
        BOOST_TEST(raw(file).find("policy_in_force") == std::string::npos);
    BOOST_TEST(report().hash.size() == 64U);
}

BOOST_AUTO_TEST_CASE(an_empty_log_is_whole) {
    SealedFolder state(folder, places);
    BOOST_REQUIRE(state.open({}, nothing));
    whole(0);
}

BOOST_AUTO_TEST_CASE(each_changed_byte_is_found) {
    append(2);
    const auto file = files().front();
    const auto good = raw(file);
    for (std::size_t at = 0; at < good.size(); at++) {
        auto changed = good;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        put(file, changed);
        BOOST_TEST(!report().problems.empty(), "byte " << at);
    }
}

BOOST_AUTO_TEST_CASE(a_record_taken_out_is_found_and_numbered) {
    append(5);
    const auto file = files().front();
    auto all = records(file);
    BOOST_REQUIRE(all.size() >= 3U);
    all.erase(all.begin() + 1);
    put_records(file, all);
    says("records 2 to 2 are missing");
}

BOOST_AUTO_TEST_CASE(records_that_changed_places_are_found) {
    append(5);
    const auto file = files().front();
    auto all = records(file);
    std::swap(all[0], all[1]);
    put_records(file, all);
    says("stands where");
}

BOOST_AUTO_TEST_CASE(a_record_put_in_twice_is_found) {
    append(3);
    const auto file = files().front();
    auto all = records(file);
    all.insert(all.begin(), all.front());
    put_records(file, all);
    says("record 1 (");
}

BOOST_AUTO_TEST_CASE(a_file_taken_away_is_found) {
    append(40);
    const auto all = files();
    std::filesystem::rename(all[1], top / "kept");
    says("are missing before");
    std::filesystem::rename(top / "kept", all[1]);
    whole(40);
    std::filesystem::remove(all.front());
    says("records 1 to");
}

BOOST_AUTO_TEST_CASE(an_end_cut_off_is_found_and_stays_told) {
    append(5);
    const auto file = files().back();
    auto all = records(file);
    all.pop_back();
    put_records(file, all);
    says("records 5 to 5 are missing at the end");
    append(3);
    says("the log ends before record 5");
    std::filesystem::remove(files().back());
    says("are missing");
}

BOOST_AUTO_TEST_CASE(the_whole_log_taken_away_is_found) {
    append(5);
    std::filesystem::remove_all(folder / "audit");
    says("records 1 to 5 are missing at the end");
    append(1);
    says("records 1 to 5 are missing before");
    says("the log ends before record 5");
}

// As a crash leaves it, the ledger knows all but one; what it is not, is not taken for one.
BOOST_AUTO_TEST_CASE(a_ledger_of_an_earlier_day_is_found) {
    append(3);
    const auto ledger = raw(folder / "ledger");
    append(1);
    put(folder / "ledger", ledger);
    whole(4);
    SealedFolder crashed(folder, places);
    const auto any = [](const auto&) { return true; };
    BOOST_TEST(AuditLog(crashed, limits).check_ledger(any).has_value());
    CHECK_REFUSED(AuditLog(crashed, limits).check_ledger([](const auto& record) { return record["version"] != 4; }),
                  "of an earlier day");
    append(2);
    whole(6);
    put(folder / "ledger", ledger);
    says("it is one of an earlier day");
    SealedFolder state(folder, places);
    CHECK_REFUSED(AuditLog(state, limits).check_ledger(any), "of an earlier day", (folder / "audit").string());
    append(1);
    says("the last that the ledger knows");
}

BOOST_AUTO_TEST_CASE(who_kept_a_hash_can_tell_an_earlier_day) {
    append(3);
    std::filesystem::copy(folder, top / "earlier", std::filesystem::copy_options::recursive);
    append(2);
    expected = {.seq = 5, .hash = report().hash};
    whole(5);
    append(2);
    whole(7);
    std::filesystem::remove_all(folder);
    std::filesystem::copy(top / "earlier", folder, std::filesystem::copy_options::recursive);
    says("record 5, which is expected, is not there");
    append(2);
    expected.hash = std::string(64, '0');
    says("has another hash than the one expected");
    expected = {};
    whole(5);
}

// Crashes: the record half written, or written and not yet known to the ledger; also as the first of a file.
BOOST_AUTO_TEST_CASE(a_crash_is_not_taken_for_an_attack) {
    for (const int before : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}) {
        std::filesystem::remove_all(folder);
        std::filesystem::remove(places.file.string() + ".used");
        std::filesystem::create_directory(folder);
        append(before);
        std::filesystem::remove_all(top / "before");
        std::filesystem::copy(folder, top / "before", std::filesystem::copy_options::recursive);
        append(1);
        const auto file = files().back();
        const auto after = raw(file);
        const auto known = std::filesystem::exists(top / "before/audit" / file.filename())
                               ? raw(top / "before/audit" / file.filename()).size()
                               : 0;
        const auto end = after.size();
        for (const auto size : {known, known + 1, known + 4, known + 5, (known + end) / 2, end - 1, end})
            for (const std::size_t strange : {0, 5}) { // bytes that the disk put where the rest should be
                std::filesystem::remove_all(folder);
                std::filesystem::copy(top / "before", folder, std::filesystem::copy_options::recursive);
                std::filesystem::create_directory(folder / "audit");
                put(file, after.substr(0, size) +
                              (size == end ? "" : std::string(strange, static_cast<char>(after[size] ^ 1))));
                append(1);
                append(1);
                whole(static_cast<std::uint64_t>(before) + (size == end ? 3 : 2));
            }
    }
}

BOOST_AUTO_TEST_CASE(a_key_that_is_replaced_keeps_the_chain) {
    append(12);
    expected = {.seq = 12, .hash = report().hash};
    rotate();
    whole(12);
    append(1);
    whole(13);
    places.previous.clear();
    whole(13);
}

BOOST_AUTO_TEST_CASE(old_files_go_and_the_rest_is_whole) {
    limits.total_bytes = 4000;
    append(60);
    const auto found = report();
    BOOST_TEST(found.problems.empty(), (found.problems.empty() ? "" : found.problems.front()));
    BOOST_TEST(found.first > 30U);
    BOOST_TEST(found.last == 60U);
    BOOST_TEST(found.records == found.last - found.first + 1);
    std::filesystem::remove(files().front()); // what was let go is no excuse for more
    BOOST_TEST(!report().problems.empty());
}

// By what the records tell: dates and sizes of files are anybody's.
BOOST_AUTO_TEST_CASE(old_files_go_by_age) {
    time = "2020-01-01T00:00:00.000Z";
    append(20);
    const auto all = files();
    BOOST_REQUIRE(all.size() > 3U);
    const auto one_file_more = [&] {
        for (const auto last = files().back(); files().back() == last;)
            append(1);
    };
    time = "2026-11-22T12:00:00.000Z";
    const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(24 * 36500);
    for (const auto& file : all)
        std::filesystem::last_write_time(file, long_ago);
    one_file_more();
    BOOST_TEST(std::filesystem::exists(all.front()));
    limits.keep = std::chrono::hours(24 * 1000);
    one_file_more();
    BOOST_TEST(!std::filesystem::exists(all[0])); // two at once, no more: a clock may be wrong
    BOOST_TEST(!std::filesystem::exists(all[1]));
    BOOST_TEST(std::filesystem::exists(all[2]));
    const auto found = report();
    BOOST_TEST(found.problems.empty(), (found.problems.empty() ? "" : found.problems.front()));
}

BOOST_AUTO_TEST_CASE(a_quiet_log_forgets_too) {
    limits = {.file_bytes = 1U << 20, .total_bytes = 1U << 20, .keep = std::chrono::hours(24 * 8)};
    const auto days_ago = [](int days) { return utc(std::chrono::system_clock::now() - std::chrono::days(days)); };
    time = days_ago(12);
    append(1);
    time = days_ago(10);
    append(1);
    time = days_ago(0);
    append(2);
    BOOST_TEST(files().size() == 2U); // of ten days ago, and of now: that of before is gone
    whole(3);
}

BOOST_AUTO_TEST_CASE(a_crash_while_files_go_is_finished_later) {
    limits.total_bytes = 4000;
    append(30);
    const auto first = files().front();
    std::filesystem::copy_file(first, top / "kept");
    while (files().front() == first)
        append(1);
    std::filesystem::copy_file(top / "kept", first); // the ledger let it go, and it is still there
    BOOST_TEST(report().problems.empty());
    append(1);
    BOOST_TEST(!std::filesystem::exists(first));
    BOOST_TEST(report().problems.empty());
}

BOOST_AUTO_TEST_CASE(what_is_damaged_is_kept_over_a_new_key) {
    append(12);
    const auto file = files().front();
    auto bytes = raw(file);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    put(file, bytes);
    const auto before = report();
    rotate();
    append(1);
    BOOST_TEST(raw(file).size() == bytes.size());
    BOOST_TEST(report().problems.size() == before.problems.size());
    BOOST_TEST(report().records == before.records + 1);
}

BOOST_AUTO_TEST_CASE(an_append_that_failed_loses_one_record_not_the_log) {
    append(2);
    SealedFolder state(folder, places);
    AuditLog log(state, limits);
    BOOST_REQUIRE(log.append({{"event", "x"}}));
    std::filesystem::rename(folder / "audit", folder / "elsewhere");
    put(folder / "audit", ""); // no folder any more
    BOOST_TEST(!log.append({{"event", "y"}}));
    std::filesystem::remove(folder / "audit");
    std::filesystem::rename(folder / "elsewhere", folder / "audit");
    BOOST_REQUIRE(log.append({{"event", "z"}}));
    whole(4);
}

// What stands where the newest file should: it says nothing about the ledger, and hides nothing either.
BOOST_AUTO_TEST_CASE(a_strange_newest_file_hides_no_rollback) {
    append(3);
    const auto ledger = raw(folder / "ledger");
    append(5);
    const auto strange = folder / "audit" / std::string(20, '9');
    const auto refused = [&](bool is) {
        SealedFolder state(folder, places);
        const auto ok = AuditLog(state, limits).check_ledger([](const auto&) { return true; });
        BOOST_TEST(ok.has_value() == !is);
    };
    const auto with_each = [&](bool is) {
        refused(is);
        put(strange, "");
        refused(is);
        put(strange, std::string(3, '\0') + "\x40" + std::string(64, 'x'));
        refused(is);
        std::filesystem::remove(strange);
        std::filesystem::create_directory(strange);
        refused(is);
        std::filesystem::remove(strange);
    };
    with_each(false);
    put(folder / "ledger", ledger);
    with_each(true);
}

BOOST_AUTO_TEST_CASE(a_newest_file_that_cannot_be_read_is_told_and_holds_nothing_up) {
    append(3);
    std::filesystem::rename(files().back(), top / "kept");
    std::filesystem::create_directory(folder / "audit/00000000000000000001");
    SealedFolder state(folder, places);
    BOOST_TEST(AuditLog(state, limits).check_ledger([](const auto&) { return true; }).has_value());
    AuditLog log(state, limits);
    BOOST_REQUIRE(log.append({{"event", "x"}}));
    BOOST_TEST(test::has(log.trouble(), "00000000000000000001"));
    says("record 4, 20"); // with its time
}

BOOST_AUTO_TEST_CASE(a_bad_file_does_not_stop_old_ones_from_going) {
    append(60);
    const auto all = files();
    BOOST_REQUIRE(all.size() > 6U);
    put(all[2], std::string(3, '\0') + "\x40" + std::string(64, 'x')); // nothing in it can be opened
    std::filesystem::remove(all[4]);
    std::filesystem::create_directory(all[4]); // nor this be read
    limits.total_bytes = 3000;
    append(60);
    BOOST_TEST(files().size() <= 6U);
    BOOST_TEST(report().last == 120U);
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_resealed_is_told_and_holds_nothing_up) {
    append(12);
    const auto all = files();
    std::filesystem::rename(all[0], top / "kept");
    std::filesystem::create_directory(all[0]);
    rotate();
    {
        auto state = opened({});
        AuditLog log(state, limits);
        BOOST_REQUIRE(log.append({{"event", "x"}}));
        BOOST_TEST(test::has(log.trouble(), "keep the previous one"));
        BOOST_TEST(test::has(log.trouble(), all[0].string()));
    }
    std::filesystem::remove(all[0]);
    std::filesystem::rename(top / "kept", all[0]);
    append(1); // the next start
    places.previous.clear();
    whole(14);
}

BOOST_AUTO_TEST_CASE(without_its_ledger_nothing_is_appended) {
    append(3);
    const auto ledger = raw(folder / "ledger");
    std::filesystem::remove(folder / "ledger");
    for (int i = 0; i < 2; i++) {
        SealedFolder state(folder, places);
        BOOST_TEST(!AuditLog(state, limits).append({{"event", "x"}}).has_value());
    }
    put(folder / "ledger", ledger);
    whole(3);
}

BOOST_AUTO_TEST_CASE(garbage_is_told_once_and_counted) {
    append(2);
    std::string garbage;
    for (int i = 0; i < 5000; i++)
        garbage += std::string(3, '\0') + "\x40" + std::string(64, 'x');
    put(folder / "audit/00000000000000000900", garbage);
    const auto found = report().problems;
    BOOST_TEST(found.size() == 101U);
    BOOST_TEST(test::has(found.back(), "more"));
}

BOOST_AUTO_TEST_SUITE_END()
