// agent/base/log: one event is one line, whatever a stranger put into its values.
#include "agent/base/log.hpp"

#include "agent/base/fd.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <fcntl.h>

using namespace penstock;

namespace {

// What reaches standard error.
std::string written(const std::string& value) {
    std::array<int, 2> ends{};
    BOOST_REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd ours(ends[0]);
    {
        const Fd theirs(ends[1]), before(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
        dup2(theirs.get(), STDERR_FILENO);
        log::info("test", {{"why", value}});
        dup2(before.get(), STDERR_FILENO);
    }
    std::array<char, 512> buffer{};
    const auto got = read(ours.get(), buffer.data(), buffer.size());
    const std::string line(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    return line.substr(std::min(line.find("event="), line.size())); // behind the journal's priority, if there is one
}

} // namespace

BOOST_AUTO_TEST_SUITE(base_log)

BOOST_AUTO_TEST_CASE(quotes_what_is_not_one_plain_word) {
    BOOST_TEST(written("plain-1.2:3") == "event=test why=plain-1.2:3\n");
    BOOST_TEST(written("Gerät") == "event=test why=Gerät\n");
    BOOST_TEST(written("") == "event=test why=\"\"\n");
    BOOST_TEST(written("two words") == "event=test why=\"two words\"\n");
    BOOST_TEST(written("a=b") == "event=test why=\"a=b\"\n");
    BOOST_TEST(written("say \"x\\\"") == "event=test why=\"say \\\"x\\\\\\\"\"\n");
}

BOOST_AUTO_TEST_CASE(no_control_byte_gets_out) {
    for (int byte = 0; byte < 0x20; byte++)
        BOOST_TEST(written(std::string("a") + static_cast<char>(byte) + "b") == "event=test why=\"a b\"\n", byte);
    BOOST_TEST(written("a\x7f") == "event=test why=\"a \"\n");
    BOOST_TEST(written("\x1b[2J") == "event=test why=\" [2J\"\n");
}

BOOST_AUTO_TEST_SUITE_END()
