// Whose socket it is decides: BPF_PROG_TEST_RUN gives every packet a socket of this process, which moves between
// cgroups.
#include "agent/base/cgroup.hpp"
#include "tests/bpf/gateway.hpp"

#include <netinet/in.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

const Ethernet kOut{.source = "02:00:00:00:00:a1", .destination = "02:00:00:00:00:a2"};

// The v2 hierarchy, mounted in the private mount namespace if the machine does not show one.
std::filesystem::path hierarchy() {
    if (auto found = find_cgroup_mount())
        return *found;
    auto name = (std::filesystem::temp_directory_path() / "penstock-cgroup.XXXXXX").string();
    BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
    BOOST_REQUIRE(mount("cgroup2", name.c_str(), "cgroup2", 0, nullptr) == 0);
    return name;
}

// Cgroups of a service and of somebody else; this process goes home at the end.
class Cgroups {
public:
    Cgroups() : mount_(hierarchy()), base_("/penstock-test-" + std::to_string(getpid())) {
        std::ifstream own("/proc/self/cgroup");
        for (std::string line; std::getline(own, line);)
            if (line.starts_with("0::"))
                home_ = line.substr(3);
        for (const char* name : {"", "/service", "/service/worker", "/other"})
            std::filesystem::create_directory(mount_.string() + base_ + name);
    }
    ~Cgroups() {
        enter_path(home_);
        for (const char* name : {"/service/worker", "/service", "/other", ""})
            (void)rmdir((mount_.string() + base_ + name).c_str());
    }
    Cgroups(const Cgroups&) = delete;
    Cgroups& operator=(const Cgroups&) = delete;

    void enter(const std::string& name) const { enter_path(base_ + "/" + name); }
    [[nodiscard]] std::uint64_t id(const std::string& name) const {
        return must(cgroup_id(mount_, base_ + "/" + name));
    }

private:
    void enter_path(const std::string& path) const {
        std::ofstream(mount_.string() + path + "/cgroup.procs") << getpid();
    }
    std::filesystem::path mount_;
    std::string base_, home_ = "/";
};

struct Served : Gateway {
    Served() {
        const auto service = cgroups.id("service");
        must(gate.set_flags({}));
        must(gate.set_essentials(
            {{.network = prefix("198.51.100.0/24"), .cgroup = service, .proto = IPPROTO_TCP, .port = 22, .local = true},
             {.network = prefix("2001:db8:9::/64"), .cgroup = service, .proto = IPPROTO_TCP, .port = 22, .local = true},
             {.network = prefix("0.0.0.0/0"), .cgroup = service, .proto = IPPROTO_UDP, .port = 123},
             {.network = prefix("::/0"), .cgroup = service, .proto = IPPROTO_UDP, .port = 123}}));
        cgroups.enter("service");
    }
    ~Served() { (void)gate.set_essentials({}); }
    Served(const Served&) = delete;
    Served& operator=(const Served&) = delete;
    Cgroups cgroups;
};

const Packet kNtp = kOut / IPv4{"192.0.2.1", "198.51.100.9"} / Udp{123, 123} / Payload{},
             kNtp6 = kOut / IPv6{"2001:db8:2::1", "2001:db8:9::9"} / Udp{40000, 123} / Payload{},
             kSsh = kOut / IPv4{"192.0.2.1", "198.51.100.9"} / Tcp{22, 40000, 0x12},
             kSsh6 = kOut / IPv6{"2001:db8:2::1", "2001:db8:9::9"} / Tcp{22, 40000, 0x18} / Payload{};

BOOST_AUTO_TEST_SUITE(essentials, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(pass_for_their_owner_and_nobody_else) {
    Served gateway;
    for (const auto& packet : {kNtp, kNtp6, kSsh, kSsh6}) {
        gateway.cgroups.enter("service");
        BOOST_TEST(gateway.uplink(packet) == "pass");
        gateway.cgroups.enter("service/worker"); // a service may divide itself
        BOOST_TEST(gateway.uplink(packet) == "pass");
        gateway.cgroups.enter("other");
        BOOST_TEST(gateway.uplink(packet) == "host_clear");
        gateway.cgroups.enter("");
        BOOST_TEST(gateway.uplink(packet) == "host_clear");
    }
}

BOOST_AUTO_TEST_CASE(pass_at_their_port_and_networks_only) {
    Served gateway;
    const IPv4 own{"192.0.2.1", "198.51.100.9"};
    BOOST_TEST(gateway.uplink(kOut / own / Udp{123, 124}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / own / Tcp{40000, 123}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / own / Tcp{23, 40000, 0x12}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / own / Tcp{40000, 22, 0x10}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / IPv4{"192.0.2.1", "198.51.101.9"} / Tcp{22, 40000, 0x12}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / IPv6{"2001:db8:2::1", "2001:db8:a::9"} / Tcp{22, 40000, 0x12}) == "host_clear");
}

// Management answers; a connection from port 22 is not an answer.
BOOST_AUTO_TEST_CASE(a_service_that_answers_begins_no_connection) {
    Served gateway;
    for (const int flags : {0x12, 0x10, 0x18, 0x11, 0x04, 0x14})
        BOOST_TEST(gateway.uplink(kOut / IPv4{"192.0.2.1", "198.51.100.9"} /
                                  Tcp{22, 40000, static_cast<std::uint8_t>(flags)}) == "pass");
    for (const int flags : {0x02, 0x42, 0xc2, 0x0a})
        BOOST_TEST(gateway.uplink(kOut / IPv4{"192.0.2.1", "198.51.100.9"} /
                                  Tcp{22, 40000, static_cast<std::uint8_t>(flags)}) == "host_clear");
}

BOOST_AUTO_TEST_CASE(name_no_device_and_forward_nothing) {
    Served gateway;
    for (const char* to : {"10.20.0.12", "203.0.113.10", "203.0.114.1"})
        BOOST_TEST(gateway.uplink(kOut / IPv4{"192.0.2.1", to} / Udp{123, 123}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / IPv4{"10.20.0.1", "198.51.100.9"} / Udp{123, 123}) == "host_clear");
    BOOST_TEST(gateway.uplink(kOut / IPv4{"10.20.0.12", "198.51.100.9"} / Udp{123, 123}) == "host_clear");
    BOOST_TEST(gateway.uplink(kNtp, kDeviceMark) == "device_clear");
    BOOST_TEST(gateway.uplink_forwarded(kNtp) == "device_clear");
    IPv4 fragment{"192.0.2.1", "198.51.100.9"};
    fragment.more_fragments = true;
    BOOST_TEST(gateway.uplink(kOut / fragment / Udp{123, 123}) == "host_clear");
    BOOST_TEST(
        gateway.uplink(kOut / IPv4{.source = "192.0.2.1", .destination = "198.51.100.9", .options = {1, 1, 1, 1}} /
                       Udp{123, 123}) == "ip_options");
}

BOOST_AUTO_TEST_CASE(dhcp_is_anybodys_until_somebody_owns_it) {
    Served gateway;
    const Packet discover = kOut / IPv4{"0.0.0.0", "255.255.255.255"} / Udp{68, 67},
                 solicit = kOut / IPv6{"fe80::2", "ff02::1:2"} / Udp{546, 547};
    gateway.cgroups.enter("other");
    for (const auto& packet : {discover, solicit})
        BOOST_TEST(gateway.uplink(packet) == "pass");
    const auto service = gateway.cgroups.id("service");
    must(gateway.gate.set_flags({.dhcp_owned = true}));
    must(gateway.gate.set_essentials(
        {{.network = prefix("0.0.0.0/0"), .cgroup = service, .proto = IPPROTO_UDP, .port = 67},
         {.network = prefix("::/0"), .cgroup = service, .proto = IPPROTO_UDP, .port = 547}}));
    for (const auto& packet : {discover, solicit}) {
        gateway.cgroups.enter("other");
        BOOST_TEST(gateway.uplink(packet) == "host_clear");
        gateway.cgroups.enter("service");
        BOOST_TEST(gateway.uplink(packet) == "pass");
    }
    // Unicast to a server: its client's own, and what a relay says for others.
    const auto to_server = [](std::uint16_t from) { return kOut / IPv4{"192.0.2.1", "198.51.100.9"} / Udp{from, 67}; };
    const auto to_server6 = [](std::uint16_t from) {
        return kOut / IPv6{"2001:db8:2::1", "2001:db8:9::1"} / Udp{from, 547};
    };
    for (const bool open : {false, true}) {
        must(gateway.gate.set_flags({.host_egress_open = open, .dhcp_owned = true}));
        BOOST_TEST(gateway.uplink(to_server(68)) == "pass");
        BOOST_TEST(gateway.uplink(to_server6(546)) == "pass");
        for (const std::uint16_t relay : {67, 547, 40000}) {
            BOOST_TEST(gateway.uplink(to_server(relay)) == "host_clear");
            BOOST_TEST(gateway.uplink(to_server6(relay)) == "host_clear");
        }
    }
}

BOOST_AUTO_TEST_CASE(follow_the_owner_and_end_with_it) {
    Served gateway;
    BOOST_TEST(gateway.uplink(kNtp) == "pass");
    const datapath::EssentialRule rule{
        .network = prefix("0.0.0.0/0"), .cgroup = gateway.cgroups.id("other"), .proto = IPPROTO_UDP, .port = 123};
    must(gateway.gate.set_essentials({rule}));
    BOOST_TEST(gateway.uplink(kNtp) == "host_clear");
    BOOST_TEST(gateway.uplink(kSsh) == "host_clear");
    gateway.cgroups.enter("other");
    BOOST_TEST(gateway.uplink(kNtp) == "pass");
    must(gateway.gate.set_essentials({}));
    BOOST_TEST(gateway.uplink(kNtp) == "host_clear");
}

BOOST_AUTO_TEST_CASE(the_last_of_many_counts_too) {
    Served gateway;
    std::vector<datapath::EssentialRule> rules(
        PENSTOCK_MAX_ESSENTIALS,
        {.network = prefix("198.51.100.0/24"), .cgroup = 1, .proto = IPPROTO_UDP, .port = 123});
    rules.back().cgroup = gateway.cgroups.id("service");
    must(gateway.gate.set_essentials(rules));
    BOOST_TEST(gateway.uplink(kNtp) == "pass");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
