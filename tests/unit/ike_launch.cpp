// Starting penstock-ike: as another user, with nothing but what it needs.
#include "agent/ike/launch.hpp"

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace penstock;
namespace utf = boost::unit_test;

namespace {

constexpr uid_t kNobody = 65534;

boost::test_tools::assertion_result as_root(utf::test_unit_id) {
    boost::test_tools::assertion_result result(geteuid() == 0);
    result.message() << "needs root, to become another user";
    return result;
}

// A folder that only root may enter.
struct Closed {
    std::filesystem::path path;
    Closed() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        path = mkdtemp(name); // 0700
    }
    ~Closed() { std::filesystem::remove_all(path); }
    [[nodiscard]] std::string program(const char* copy_of, unsigned mode) const {
        const auto file = path / "penstock-ike";
        std::filesystem::copy_file(copy_of, file, std::filesystem::copy_options::overwrite_existing);
        std::filesystem::permissions(file, static_cast<std::filesystem::perms>(mode));
        return file.string();
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(ike_launch, *utf::precondition(as_root))

BOOST_AUTO_TEST_CASE(starts_a_program_that_its_user_has_no_way_to) {
    const Closed folder;
    auto process = IkeProcess::spawn({.program = folder.program("/bin/true", 0755), .uid = kNobody, .gid = kNobody});
    BOOST_REQUIRE_MESSAGE(process, (process ? "" : process.error().message()));
    int status = -1;
    BOOST_REQUIRE(waitpid(process->pid(), &status, 0) == process->pid());
    process->reaped();
    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(says_why_a_program_cannot_be_started) {
    const Closed folder;
    const auto forbidden =
        IkeProcess::spawn({.program = folder.program("/bin/true", 0700), .uid = kNobody, .gid = kNobody});
    BOOST_REQUIRE(!forbidden);
    BOOST_TEST(forbidden.error().code() == EACCES);
    const auto absent = IkeProcess::spawn({.program = "/nonexistent/penstock-ike", .uid = kNobody, .gid = kNobody});
    BOOST_REQUIRE(!absent);
    BOOST_TEST(absent.error().message().find("/nonexistent/penstock-ike") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(never_runs_as_root) {
    const auto process = IkeProcess::spawn({.program = "/bin/true", .uid = 0, .gid = 0});
    BOOST_REQUIRE(!process);
    BOOST_TEST(process.error().message().find("root") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
