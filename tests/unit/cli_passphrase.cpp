// agent/cli/passphrase: asked on the terminal without showing it, or read from a file that nobody else may read.
#include "agent/base/file.hpp"
#include "agent/cli/passphrase.hpp"
#include "tests/unit/policy_fixture.hpp"
#include "tests/unit/terminal.hpp"

#include <cstdlib>
#include <filesystem>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace penstock;
using namespace penstock::cli;
using policy::Secret;
using test::on_terminal, test::Shown;

namespace {

bool is(const Result<Secret>& secret, std::string_view text) { return secret && secret->text == text; }

} // namespace

BOOST_AUTO_TEST_SUITE(cli_passphrase)

BOOST_AUTO_TEST_CASE(is_asked_on_the_terminal_and_not_shown) {
    const auto shown =
        on_terminal([] { return is(ask_passphrase("Passphrase of k.pem: "), "correct horse"); }, {"correct horse\n"});
    BOOST_TEST(shown.content);
    BOOST_TEST(shown.text == "Passphrase of k.pem: \r\n");
}

BOOST_AUTO_TEST_CASE(a_new_one_is_asked_twice) {
    const auto ask = [] { return is(ask_new_passphrase("New: "), "battery"); };
    BOOST_TEST(on_terminal(ask, {"battery\n", "battery\n"}).content);
    const auto differ = [] { return test::error_of(ask_new_passphrase("New: ")) == "the two passphrases differ"; };
    BOOST_TEST(on_terminal(differ, {"battery\n", "staple\n"}).content);
}

BOOST_AUTO_TEST_CASE(nothing_typed_and_control_c_are_no_passphrase) {
    const auto says = [](const char* sentence) {
        return [sentence] { return test::error_of(ask_passphrase("P: ")) == sentence; };
    };
    BOOST_TEST(on_terminal(says("an empty passphrase is none"), {"\n"}).content);
    BOOST_TEST(on_terminal(says("no passphrase was given"), {"half\x03"}).content);
}

BOOST_AUTO_TEST_CASE(without_a_terminal_a_file_is_asked_for) {
    const pid_t child = fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
        setsid(); // and with that no terminal
        _exit(test::has(test::error_of(ask_passphrase("P: ")), "give --passphrase-file") ? 0 : 1);
    }
    int status = -1;
    BOOST_REQUIRE(waitpid(child, &status, 0) == child);
    BOOST_TEST(WEXITSTATUS(status) == 0);
}

BOOST_AUTO_TEST_CASE(a_file_gives_its_first_line_if_nobody_else_may_read_it) {
    char folder[] = "/tmp/penstock-unit.XXXXXX";
    BOOST_REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/pass";
    for (const auto& [content, passphrase] :
         {std::pair("correct horse\n", "correct horse"), {"no newline", "no newline"}, {"one\ntwo\n", "one"}}) {
        BOOST_REQUIRE(write_file_atomically(path, content));
        BOOST_TEST(is(read_passphrase(path), passphrase));
    }
    BOOST_REQUIRE(::chmod(path.c_str(), 0644) == 0);
    CHECK_REFUSED(read_passphrase(path), "others may read");
    BOOST_REQUIRE(::chmod(path.c_str(), 0600) == 0);
    BOOST_REQUIRE(write_file_atomically(path, "\n"));
    CHECK_REFUSED(read_passphrase(path), "an empty passphrase is none");
    std::filesystem::remove_all(folder);
}

BOOST_AUTO_TEST_SUITE_END()
