// agent/base/tool: what a tool says, and what is said of one that fails.
#include "agent/base/tool.hpp"

#include <boost/test/unit_test.hpp>

#include <cerrno>

using penstock::run_tool;
using penstock::Stderr;

BOOST_AUTO_TEST_SUITE(base_tool)

BOOST_AUTO_TEST_CASE(says_what_the_tool_said) {
    BOOST_TEST(run_tool({"/bin/sh", "-c", "echo out; echo err >&2"}).value() == "out\n");
    BOOST_TEST(run_tool({"sh", "-c", "echo out; echo err >&2"}, Stderr::join).value() == "out\nerr\n");
    BOOST_TEST(run_tool({"cat"}).value().empty()); // nothing is typed into it
}

BOOST_AUTO_TEST_CASE(a_failure_has_its_words) {
    BOOST_TEST(run_tool({"sh", "-c", "echo no way >&2; exit 3"}).error().message() == "sh failed");
    BOOST_TEST(run_tool({"sh", "-c", "echo no way >&2; exit 3"}, Stderr::join).error().message() ==
               "sh failed: no way");
    const auto absent = run_tool({"there-is-no-such-tool"});
    BOOST_REQUIRE(!absent);
    BOOST_TEST(absent.error().code() == ENOENT);
}

BOOST_AUTO_TEST_SUITE_END()
