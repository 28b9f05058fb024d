// Services of the gateway itself: what the configuration may say of them, and who their owner is now.
#include "agent/core/essentials.hpp"

#include "agent/base/cgroup.hpp"
#include "agent/core/config_section.hpp"

#include <boost/test/unit_test.hpp>

#include <netinet/in.h>

using namespace penstock;
using namespace penstock::core;

namespace {

struct Read {
    Essential essential;
    std::string error;
};

Read read(const std::string& text, std::optional<std::uint16_t> api_port = std::nullopt) {
    const auto table = toml::parse(text);
    Complaints complaints("penstock.toml");
    Section section("[[essential]]", &table, complaints);
    Read out{.essential = read_essential(section, api_port), .error = {}};
    if (const auto ok = complaints.status(); !ok)
        out.error = ok.error().message();
    return out;
}

bool says(const std::string& message, const std::string& part) { return message.find(part) != std::string::npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(core_essentials)

BOOST_AUTO_TEST_CASE(knows_services_by_name) {
    const auto ssh = read("name = \"m\"\nservice = \"ssh\"\nnetworks = [\"198.51.100.0/24\"]");
    BOOST_TEST(ssh.error == "");
    BOOST_TEST(ssh.essential.local);
    BOOST_TEST(ssh.essential.ports == std::vector<std::uint16_t>{22});
    BOOST_TEST(ssh.essential.cgroups.front() == "/system.slice/ssh.service");
    const auto clock = read("name = \"c\"\nservice = \"ntp\"\ncgroups = [\"/mine\"]\nnetworks = [\"0.0.0.0/0\"]");
    BOOST_TEST(!clock.essential.local);
    BOOST_TEST(clock.essential.cgroups == std::vector<std::string>{"/mine"});
    const auto dhcp = read("name = \"d\"\nservice = \"dhcp\"");
    BOOST_TEST(dhcp.error == "");
    BOOST_TEST(dhcp.essential.networks.size() == 2U);
    BOOST_TEST(owns_dhcp({dhcp.essential}));
    BOOST_TEST(!owns_dhcp({ssh.essential, clock.essential}));
}

BOOST_AUTO_TEST_CASE(takes_any_service_that_is_spelt_out) {
    const auto one = read("name = \"t\"\nproto = \"tcp\"\nremote_port = 8883\ncgroups = [\"/system.slice/t.service\"]\n"
                          "networks = [\"192.0.2.80/32\", \"2001:db8::/32\"]");
    BOOST_TEST(one.error == "");
    BOOST_TEST(!one.essential.local);
    BOOST_TEST(one.essential.protos == std::vector<std::uint8_t>{IPPROTO_TCP});
    BOOST_TEST(one.essential.ports == std::vector<std::uint16_t>{8883});
    BOOST_TEST(one.essential.networks.size() == 2U);
}

BOOST_AUTO_TEST_CASE(refuses_what_is_half_or_too_much) {
    const std::string networks = "\nnetworks = [\"0.0.0.0/0\"]";
    BOOST_TEST(says(read("name = \"m\"\nservice = \"ssh\"").error, "networks"));
    BOOST_TEST(says(read("service = \"ssh\"" + networks).error, "name"));
    BOOST_TEST(says(read("name = \"m\"\nservice = \"telnet\"" + networks).error, "known are ssh, ntp"));
    BOOST_TEST(says(read("name = \"m\"\nservice = \"ssh\"\nlocal_port = 23" + networks).error, "already"));
    BOOST_TEST(says(read("name = \"m\"" + networks).error, "needs a service"));
    const std::string spelt = "name = \"m\"\nproto = \"udp\"\ncgroups = [\"/a\"]";
    BOOST_TEST(read(spelt + "\nlocal_port = 1" + networks).error == "");
    BOOST_TEST(says(read(spelt + networks).error, "local_port or remote_port"));
    BOOST_TEST(says(read(spelt + "\nlocal_port = 1\nremote_port = 2" + networks).error, "local_port or remote_port"));
    BOOST_TEST(says(read(spelt + "\nlocal_port = 65536" + networks).error, "local_port"));
    BOOST_TEST(says(read(spelt + "\nlocal_port = 1\nuser = \"root\"" + networks).error, "user"));
    for (const char* cgroup : {"/", "a", "", "/a/../b"})
        BOOST_TEST(read("name = \"m\"\nproto = \"udp\"\nlocal_port = 1\ncgroups = [\"" + std::string(cgroup) + "\"]" +
                        networks)
                           .error != "",
                   cgroup);
}

BOOST_AUTO_TEST_CASE(says_whose_owner_is_not_there) {
    Essential essential{.name = "nobody", .cgroups = {"/no/such.service"}, .protos = {IPPROTO_UDP}, .ports = {123}};
    essential.networks = {*IpPrefix::parse("0.0.0.0/0")};
    const auto resolved = resolve({essential});
    BOOST_TEST(resolved.rules.empty());
    BOOST_REQUIRE(resolved.states.size() == 1U);
    BOOST_TEST(says(resolved.states[0].problem, find_cgroup_mount() ? "does not run" : "cgroup v2"));
}

BOOST_AUTO_TEST_SUITE_END()
