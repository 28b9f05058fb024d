// The main function of all unit tests.
#define BOOST_TEST_MODULE penstock
#include <boost/test/unit_test.hpp>

#include <sys/stat.h>

namespace {

// Files that a group may write are not trusted, whoever runs the tests.
struct Umask {
    Umask() { umask(022); }
};

} // namespace

BOOST_TEST_GLOBAL_FIXTURE(Umask);
