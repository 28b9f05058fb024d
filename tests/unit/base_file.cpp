// agent/base/file: whole files, read with a limit and written in one step.
#include "agent/base/file.hpp"

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <cstdlib>
#include <sys/stat.h>

using namespace penstock;

namespace {

struct Folder {
    std::filesystem::path path;
    Folder() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        BOOST_REQUIRE(mkdtemp(name) != nullptr);
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    [[nodiscard]] auto files() const {
        return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
    }
};

unsigned mode_of(const std::filesystem::path& path) {
    struct stat info{};
    return stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

} // namespace

BOOST_AUTO_TEST_SUITE(base_file)

BOOST_FIXTURE_TEST_CASE(replaces_a_file_and_keeps_its_permissions, Folder) {
    const auto file = path / "a";
    BOOST_REQUIRE(write_file_atomically(file, "one"));
    BOOST_TEST(mode_of(file) == 0600U);
    BOOST_REQUIRE(chmod(file.c_str(), 0640) == 0);
    BOOST_REQUIRE(write_file_atomically(file, "two", 0644));
    BOOST_TEST(*read_file(file, 3) == "two");
    BOOST_TEST(mode_of(file) == 0640U);
    BOOST_TEST(files() == 1);
}

BOOST_FIXTURE_TEST_CASE(leaves_what_it_must_not_replace, Folder) {
    const auto file = path / "a";
    BOOST_REQUIRE(write_file_atomically(file, "one", 0644, Existing::refuse));
    BOOST_TEST(mode_of(file) == 0644U);
    const auto refused = write_file_atomically(file, "two", 0644, Existing::refuse);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().code() == EEXIST);
    BOOST_TEST(*read_file(file, 3) == "one");
    BOOST_TEST(files() == 1);
}

BOOST_FIXTURE_TEST_CASE(a_file_over_the_limit_is_refused_and_the_limit_itself_is_read, Folder) {
    BOOST_REQUIRE(write_file_atomically(path / "a", "1234"));
    BOOST_TEST(*read_file(path / "a", 4) == "1234");
    const auto refused = read_file(path / "a", 3);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().code() == EFBIG);
    BOOST_TEST(refused.error().message().ends_with("a is larger than the limit of 3 bytes"));
}

BOOST_FIXTURE_TEST_CASE(leaves_nothing_behind_when_it_fails, Folder) {
    std::filesystem::create_directory(path / "a");
    BOOST_TEST(write_file_atomically(path / "a", "one").error().code() == EISDIR);
    BOOST_TEST(files() == 1);
    BOOST_TEST(write_file_atomically(path / "none" / "a", "one").error().message() ==
               "cannot write " + (path / "none" / "a").string() + ": No such file or directory");
}

BOOST_FIXTURE_TEST_CASE(writes_into_the_current_folder, Folder) {
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(path);
    const auto written = write_file_atomically("a", "one");
    std::filesystem::current_path(before);
    BOOST_REQUIRE(written);
    BOOST_TEST(*read_file(path / "a", 3) == "one");
}

BOOST_FIXTURE_TEST_CASE(names_the_file_and_the_limit, Folder) {
    const auto file = path / "a";
    BOOST_REQUIRE(write_file_atomically(file, std::string(100'000, 'x')));
    BOOST_TEST(read_file(file, 100'000)->size() == 100'000U);
    const auto refused = read_file(file, 99'999);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().code() == EFBIG);
    BOOST_TEST(refused.error().message() == file.string() + " is larger than the limit of 99999 bytes");
    BOOST_TEST(read_file(path / "b", 1).error().message() ==
               "cannot read " + (path / "b").string() + ": No such file or directory");
}

BOOST_AUTO_TEST_CASE(a_folder_is_held_by_one_at_a_time) {
    const auto folder = std::filesystem::temp_directory_path() / ("penstock-lock-" + std::to_string(getpid()));
    {
        const auto first = lock_folder(folder);
        BOOST_REQUIRE(first.has_value());
        const auto second = lock_folder(folder);
        BOOST_REQUIRE(!second.has_value());
        BOOST_TEST(second.error().code() == EWOULDBLOCK);
    }
    BOOST_TEST(lock_folder(folder).has_value());
    std::filesystem::remove(folder);
}

BOOST_FIXTURE_TEST_CASE(who_may_read_or_write_decides, Folder) {
    const auto file = path / "secret";
    BOOST_REQUIRE(write_file_atomically(file, "x"));
    const auto opens = [&](unsigned mode, bool secret) {
        BOOST_REQUIRE(chmod(file.c_str(), mode) == 0);
        const bool open = open_guarded(file, secret).has_value();
        BOOST_TEST(read_guarded(file, 10, secret).has_value() == open);
        return open;
    };
    BOOST_TEST(opens(0600, true));
    BOOST_TEST(opens(0640, true)); // a group of its own
    BOOST_TEST(!opens(0644, true));
    BOOST_TEST(!opens(0660, true));
    BOOST_TEST(opens(0644, false));
    BOOST_TEST(!opens(0664, false));
    BOOST_TEST(!opens(0646, false));
    BOOST_TEST(read_guarded(file.parent_path(), 10).error().code() == EISDIR);
    BOOST_REQUIRE(mkfifo((path / "fifo").c_str(), 0600) == 0);
    BOOST_TEST(!open_guarded(path / "fifo"));
}

BOOST_FIXTURE_TEST_CASE(whose_file_it_is_decides, Folder) {
    if (geteuid() != 0)
        return; // nobody else can give a file away
    const auto file = path / "a";
    BOOST_REQUIRE(write_file_atomically(file, "x", 0644));
    BOOST_REQUIRE(chown(file.c_str(), 65534, 65534) == 0);
    const auto refused = read_guarded(file, 10);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().message().find("belongs to user 65534; mend: chown root") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
