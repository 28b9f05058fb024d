// agent/net: whose TUN a descriptor is, whatever it is.
#include "agent/net/tun.hpp"
#include "tests/unit/net_namespace.hpp"

#include <cerrno>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <optional>
#include <sys/ioctl.h>
#include <sys/socket.h>

using namespace penstock;

namespace {

Fd device() {
    Fd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    BOOST_REQUIRE(fd);
    return fd;
}

Fd make(const char* name, short flags) {
    auto fd = device();
    ifreq request{};
    std::string(name).copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = flags;
    BOOST_REQUIRE(ioctl(fd.get(), TUNSETIFF, &request) == 0);
    return fd;
}

BOOST_AUTO_TEST_SUITE(net_tun, *boost::unit_test::precondition(test::can_make_namespaces))

BOOST_AUTO_TEST_CASE(knows_a_tun_by_its_descriptor) {
    const test::NetworkNamespace here;
    const auto tun = make("tun7", IFF_TUN | IFF_NO_PI);
    auto link = net::find_tun(tun.get());
    BOOST_REQUIRE_MESSAGE(link, (link ? "" : link.error().message()));
    BOOST_TEST(link->name == "tun7");
    const int index = link->index;
    test::NetworkNamespace::ip("link set tun7 name other");
    link = net::find_tun(tun.get());
    BOOST_REQUIRE(link);
    BOOST_TEST(link->name == "other");
    BOOST_TEST(link->index == index);
    test::NetworkNamespace::ip("link del other");
    BOOST_TEST(!net::find_tun(tun.get()));
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_tun) {
    const test::NetworkNamespace here;
    const auto tap = make("tap7", IFF_TAP | IFF_NO_PI), nothing = device();
    const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC)), socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    for (const int fd : {tap.get(), nothing.get(), null.get(), socket.get(), -1})
        BOOST_TEST(!net::find_tun(fd));
}

BOOST_AUTO_TEST_CASE(refuses_a_tun_of_another_namespace) {
    const test::NetworkNamespace here;
    std::optional<Fd> foreign;
    {
        const test::NetworkNamespace there;
        foreign = make("tun7", IFF_TUN | IFF_NO_PI);
        BOOST_TEST(net::find_tun(foreign->get()).has_value());
    }
    const auto own = make("tun7", IFF_TUN | IFF_NO_PI); // the same name does not help
    const auto found = net::find_tun(foreign->get());
    BOOST_REQUIRE(!found);
    BOOST_TEST(found.error().message() == "it is of another network namespace");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
