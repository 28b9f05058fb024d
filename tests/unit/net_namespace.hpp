// A network namespace of its own for a test, left again at its end; tests of agent/net skip themselves without root.
#pragma once

#include "agent/base/fd.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <unistd.h>

namespace penstock::test {

inline boost::test_tools::assertion_result can_make_namespaces(boost::unit_test::test_unit_id) {
    boost::test_tools::assertion_result result(geteuid() == 0);
    result.message() << "needs root: the test makes a network namespace";
    return result;
}

// Moves the calling thread; the test is given up if that fails, so that it never acts on the machine's own network.
class NetworkNamespace {
public:
    NetworkNamespace() : home_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
        BOOST_REQUIRE_MESSAGE(home_ && unshare(CLONE_NEWNET) == 0, "cannot make a network namespace");
    }
    ~NetworkNamespace() {
        if (setns(home_.get(), CLONE_NEWNET) != 0)
            std::abort(); // going on would run the next test in the wrong place
    }
    NetworkNamespace(const NetworkNamespace&) = delete;
    NetworkNamespace& operator=(const NetworkNamespace&) = delete;

    // Scaffolding: iproute2 makes what the code under test has no business making.
    static void ip(const std::string& arguments) {
        const std::string command = "ip " + arguments;
        BOOST_REQUIRE_MESSAGE(std::system(command.c_str()) == 0, command);
    }

private:
    Fd home_;
};

} // namespace penstock::test
