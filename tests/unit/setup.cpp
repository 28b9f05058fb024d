// agent/setup: questions, files, texts, and the way into force and back, with tools that only write down what they are
// asked.
#include "agent/base/file.hpp"
#include "agent/setup/arm.hpp"
#include "agent/setup/dialog.hpp"
#include "agent/setup/login.hpp"
#include "agent/setup/request.hpp"
#include "agent/setup/texts.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <fstream>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <sstream>
#include <sys/stat.h>

using namespace penstock;
using namespace penstock::setup;
namespace fs = std::filesystem;

namespace {

const std::string kAnswers = R"(gateway = "gw-1"
lan = ["lan0"]
uplink = ["wan0"]
peer = "192.0.2.2"
local_id = "gw-1.example"
remote_id = "cloud.example"
local_networks = ["10.20.0.0/24"]
remote_networks = ["203.0.113.0/24", "2001:db8:203::/64"]
ssh = ["198.51.100.0/24"]
ca = ["my-ca.pem"]
root = "my-root.json"
)";

// What `mount --bind NEW FILE` and `umount --lazy FILE` show, by names: the FILE that is the NEW one, with its own
// below.
constexpr const char* kNsenter = R"(case $2 in
mount) mv "$5" "$5.below" && ln "$4" "$5" ;;
umount) mv -f "$4.below" "$4" ;;
esac)";

struct Desk {
    fs::path folder;
    Paths paths;
    std::string path_before = std::getenv("PATH");
    Desk() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        BOOST_REQUIRE(::mkdtemp(name) != nullptr);
        folder = name;
        paths = {.etc = folder / "etc", .run = folder / "run"};
        fs::create_directories(paths.etc);
        fs::create_directories(folder / "bin");
        for (const auto* tool : {"systemctl", "systemd-run", "penstockd"})
            works(tool);
        tool("nsenter", kNsenter);
        setenv("PATH", (folder / "bin:").string().append(path_before).c_str(), 1);
        put("my-ca.pem", "a CA");
        put("my-root.json", "a root");
        put("answers.toml", kAnswers);
    }
    ~Desk() {
        setenv("PATH", path_before.c_str(), 1);
        fs::remove_all(folder);
    }
    void put(const std::string& name, const std::string& text) const {
        BOOST_REQUIRE(write_file_atomically(folder / name, text, 0644));
    }
    [[nodiscard]] std::string get(const fs::path& path) const {
        return read_file(path, 1U << 20).value_or("(cannot read)");
    }
    void tool(const std::string& name, const std::string& end) const {
        const auto path = folder / "bin" / name;
        std::ofstream(path) << "#!/bin/sh\necho \"" << name << " $*\" >>" << (folder / "calls").string() << "\n"
                            << end << "\n";
        BOOST_REQUIRE(chmod(path.c_str(), 0755) == 0);
    }
    void works(const std::string& name) const { tool(name, "exit 0"); }
    void fails(const std::string& name) const { tool(name, "echo cannot >&2; exit 1"); }
    // What was asked of tools since the last time.
    [[nodiscard]] std::string calls() const {
        auto text = read_file(folder / "calls", 1U << 20).value_or("");
        fs::remove(folder / "calls");
        return text;
    }
    [[nodiscard]] Answers answers() const { return read_answers(folder / "answers.toml").value(); }
    void draft(const std::string& gateway) const {
        auto some = answers();
        some.gateway = gateway;
        BOOST_REQUIRE(write_file_atomically(paths.draft(), config_text(some), 0644));
    }
    [[nodiscard]] std::string gateway_in_force() const {
        const auto config = core::Config::load(paths.config());
        return config ? config->gateway : "none";
    }
};

core::NetworkView small_network() {
    core::NetworkView network;
    network.links = {{.index = 1, .name = "lo", .flags = IFF_LOOPBACK | IFF_UP, .arphrd = ARPHRD_LOOPBACK},
                     {.index = 2, .name = "wan0", .flags = IFF_UP, .arphrd = ARPHRD_ETHER},
                     {.index = 3, .name = "br0", .flags = IFF_UP, .arphrd = ARPHRD_ETHER, .kind = "bridge"},
                     {.index = 4, .name = "eth1", .flags = IFF_UP, .arphrd = ARPHRD_ETHER, .master = 3},
                     {.index = 5, .name = "eth2", .arphrd = ARPHRD_ETHER}};
    network.addresses = {
        {.ifindex = 2, .address = IpAddress::parse("192.0.2.10").value(), .prefix_length = 24},
        {.ifindex = 3, .address = IpAddress::parse("10.20.0.1").value(), .prefix_length = 24},
        {.ifindex = 3, .address = IpAddress::parse("fe80::1").value(), .prefix_length = 64, .scope = 253}};
    network.main_routes = {{.destination = IpPrefix::parse("0.0.0.0/0").value(), .oif = 2}};
    return network;
}

} // namespace

BOOST_AUTO_TEST_SUITE(setup)

BOOST_AUTO_TEST_CASE(answers_are_read_strictly) {
    const Desk desk;
    const auto good = desk.answers();
    BOOST_TEST(good.ca.front() == desk.folder / "my-ca.pem"); // relative to the file
    BOOST_TEST(good.services.at("ssh").front().str() == "198.51.100.0/24");
    BOOST_TEST(!good.arm.has_value());
    desk.put("answers.toml", kAnswers + "arms = \"now\"\nprivate_key = \"k\"\n");
    const auto bad = read_answers(desk.folder / "answers.toml");
    BOOST_REQUIRE(!bad);
    BOOST_TEST_CONTEXT(bad.error().message()) {
        BOOST_TEST((bad.error().message().find("answers.toml:12: unknown key answer arms; did you mean") !=
                    std::string::npos));
        BOOST_TEST((bad.error().message().find(":13: private_key without its certificate") != std::string::npos));
    }
}

BOOST_AUTO_TEST_CASE(the_machine_suggests_its_interfaces) {
    const auto found = proposals(small_network(), "gw-7", IpAddress::parse("198.51.100.7").value());
    BOOST_TEST(found.gateway == "gw-7");
    BOOST_TEST(found.uplink == std::vector<std::string>{"wan0"});
    BOOST_TEST(found.lan == std::vector<std::string>{"br0"}); // neither its port nor what has no address
    BOOST_REQUIRE(found.local_networks.size() == 1U);
    BOOST_TEST(found.local_networks.front().str() == "10.20.0.0/24");
    BOOST_TEST(found.services.at("ssh").front().str() == "198.51.100.7/32");
}

BOOST_AUTO_TEST_CASE(a_person_answers_and_is_asked_again) {
    const Desk desk;
    std::istringstream in(
        "\n\nwan0, wan1\nnonsense\n192.0.2.2\n\ncloud.example\n10.20.0.1/24\n10.20.0.0/24\n203.0.113.0/24\n"
        "-\n192.0.2.123\n\n/no/such/file\n" +
        (desk.folder / "my-ca.pem").string() + "\n" + (desk.folder / "my-root.json").string() + "\n");
    std::ostringstream out;
    const auto answers = ask(in, out, proposals(small_network(), "gw-7", IpAddress::parse("198.51.100.7").value()));
    BOOST_REQUIRE_MESSAGE(answers, out.str());
    BOOST_TEST(answers->gateway == "gw-7");
    BOOST_TEST(answers->lan == std::vector<std::string>{"br0"});
    BOOST_TEST(answers->uplink == (std::vector<std::string>{"wan0", "wan1"}));
    BOOST_TEST(answers->peer.str() == "192.0.2.2");
    BOOST_TEST(answers->local_id == "gw-7");
    BOOST_TEST(answers->services.at("ssh").empty());
    BOOST_TEST(answers->services.at("ntp").front().str() == "192.0.2.123/32");
    BOOST_TEST(answers->certificate.empty());
    std::istringstream cut("gw\n");
    const auto ended = ask(cut, out, {});
    BOOST_REQUIRE(!ended);
    BOOST_TEST(ended.error().message().starts_with("the input ended"));
    std::istringstream words("maybe\n\nnow\n");
    BOOST_TEST(choose(words, out, "When?", {"later", "now"}).value() == "later");
    BOOST_TEST(choose(words, out, "When?", {"later", "now"}).value() == "now");
}

BOOST_AUTO_TEST_CASE(the_configuration_is_good_whatever_the_words) {
    const Desk desk;
    auto answers = desk.answers();
    answers.local_id = "C=DE, O=\"x\\y\", CN=gw";
    BOOST_REQUIRE(write_file_atomically(desk.paths.draft(), config_text(answers), 0644));
    const auto config = core::Config::load(desk.paths.draft());
    BOOST_REQUIRE_MESSAGE(config, (config ? "" : config.error().message()));
    BOOST_TEST(config->tunnels.front().local_id == answers.local_id);
    BOOST_TEST(config->essentials.size() == 1U);
    BOOST_TEST(config->ca.front() == desk.paths.etc / "ca.pem");
    BOOST_TEST(!config->host_egress_open);
}

BOOST_AUTO_TEST_CASE(without_a_certificate_there_is_a_key_and_a_request) {
    const Desk desk;
    Said said;
    const auto complete = install(desk.answers(), desk.paths, said);
    BOOST_REQUIRE_MESSAGE(complete, (complete ? "" : complete.error().message()));
    BOOST_TEST(!*complete);
    struct stat info{};
    BOOST_TEST(stat((desk.paths.etc / "gateway.key").c_str(), &info) == 0);
    BOOST_TEST((info.st_mode & 0777) == 0600U);
    BOOST_TEST(desk.get(desk.paths.etc / "gateway.csr").starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    BOOST_TEST(desk.calls() == "penstockd --check-config " + desk.paths.draft().string() + "\n");
    desk.tool("penstockd", "echo x " + (desk.paths.etc / "gateway.pem").string() + " is missing; exit 1");
    BOOST_TEST(install(desk.answers(), desk.paths, said).has_value()); // it is to come
    desk.tool("penstockd", "echo root.json is broken; exit 1");
    BOOST_TEST(install(desk.answers(), desk.paths, said).error().message() == "penstockd failed: root.json is broken");
    desk.works("penstockd");
    const auto key = desk.get(desk.paths.etc / "gateway.key");
    BOOST_REQUIRE(install(desk.answers(), desk.paths, said));
    BOOST_TEST(desk.get(desk.paths.etc / "gateway.key") == key);
    BOOST_TEST(!make_request(policy::Secret(key), "C=DE, CN=gw"));
    BOOST_TEST(!make_request(policy::Secret("no key"), "gw-1.example"));
}

BOOST_AUTO_TEST_CASE(nothing_is_overwritten_without_a_word) {
    const Desk desk;
    Said said;
    const auto path = desk.paths.etc / "ca.pem";
    BOOST_REQUIRE(put_file(path, "one", 0644, said));
    BOOST_REQUIRE(put_file(path, "one", 0644, said));
    BOOST_REQUIRE(put_file(path, "two", 0644, said));
    BOOST_TEST(said == (Said{"wrote " + path.string(), "kept " + path.string(),
                             "replaced " + path.string() + "; what was there is " + path.string() + ".old"}),
               boost::test_tools::per_element());
    BOOST_TEST(desk.get(path.string() + ".old") == "one");
    // A key is not replaced at all.
    auto answers = desk.answers();
    answers.certificate = answers.private_key = desk.folder / "my.key";
    desk.put("my.key", "mine");
    BOOST_REQUIRE(chmod(answers.private_key.c_str(), 0600) == 0);
    BOOST_REQUIRE(write_file_atomically(desk.paths.etc / "gateway.key", "another", 0600));
    const auto refused = install(answers, desk.paths, said);
    BOOST_REQUIRE(!refused);
    BOOST_TEST((refused.error().message().find("a private key is never replaced") != std::string::npos));
    BOOST_TEST(desk.get(desk.paths.etc / "gateway.key") == "another");
}

BOOST_AUTO_TEST_CASE(the_cloud_side_mirrors_ours) {
    const Desk desk;
    desk.draft("gw-1");
    const auto text = cloud_side(core::Config::load(desk.paths.draft()).value());
    for (const auto* line :
         {"local_addrs = 192.0.2.2\n", "id = \"cloud.example\"\n", "id = \"gw-1.example\"\n",
          "local_ts = 203.0.113.0/24,2001:db8:203::/64\n", "remote_ts = 10.20.0.0/24\n",
          "proposals = aes256gcm16-prfsha384-ecp384\n", "esp_proposals = aes256gcm16-ecp384-esn,aes256gcm16-ecp384\n"})
        BOOST_TEST_CONTEXT(line) { BOOST_TEST((text.find(line) != std::string::npos)); }
}

BOOST_AUTO_TEST_CASE(what_is_blocked_names_every_interface_and_who_is_cut_off) {
    const Desk desk;
    desk.draft("gw-1");
    const auto config = core::Config::load(desk.paths.draft()).value();
    const auto inside = Login{.remote = true, .from = IpAddress::parse("198.51.100.7").value()};
    const auto text = what_is_blocked(config, small_network(), inside);
    for (const auto* piece : {"lan0 (not there yet), LAN", "wan0 (192.0.2.10/24), uplink", "ssh with 198.51.100.0/24",
                              "eth2, neither LAN nor uplink: nothing leaves"})
        BOOST_TEST_CONTEXT(piece << " in " << text) { BOOST_TEST((text.find(piece) != std::string::npos)); }
    BOOST_TEST((text.find("THIS SESSION ENDS") == std::string::npos));
    const auto outside = Login{.remote = true, .from = IpAddress::parse("198.51.101.7").value()};
    BOOST_TEST((what_is_blocked(config, small_network(), outside).find("THIS SESSION ENDS") != std::string::npos));
}

BOOST_AUTO_TEST_CASE(ssh_is_known_by_its_variable) {
    setenv("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.10 22", 1);
    const auto found = login();
    unsetenv("SSH_CONNECTION");
    BOOST_TEST(found.remote);
    BOOST_REQUIRE(found.from);
    BOOST_TEST(found.from->str() == "198.51.100.7");
}

BOOST_AUTO_TEST_CASE(at_the_machine_itself_it_is_armed_for_good) {
    const Desk desk;
    desk.draft("gw-1");
    Said said;
    BOOST_REQUIRE(arm(desk.paths, std::chrono::minutes(0), said));
    BOOST_TEST(desk.gateway_in_force() == "gw-1");
    BOOST_TEST(desk.calls() == "systemctl restart penstockd.service\n");
    BOOST_TEST(!confirm(desk.paths, said)); // nothing waits
    BOOST_TEST(!revert(desk.paths, said));
    BOOST_TEST(!arm(desk.paths, std::chrono::minutes(0), said)); // no draft any more
}

BOOST_AUTO_TEST_CASE(over_the_network_it_is_forgotten_unless_confirmed) {
    const Desk desk;
    desk.draft("gw-1");
    Said said;
    BOOST_REQUIRE(arm(desk.paths, std::chrono::minutes(7), said));
    const auto calls = desk.calls();
    BOOST_TEST_CONTEXT(calls) {
        BOOST_TEST(calls.starts_with("systemd-run ")); // the way back comes first
        BOOST_TEST((calls.find("--on-active=7min") != std::string::npos));
        BOOST_TEST((calls.find("setup --revert\nsystemctl restart penstockd.service\n") != std::string::npos));
    }
    BOOST_TEST(desk.gateway_in_force() == "gw-1");
    BOOST_TEST(!arm(desk.paths, std::chrono::minutes(7), said)); // one at a time
    // A reboot empties /run.
    fs::rename(desk.paths.run, desk.folder / "away");
    BOOST_TEST(!fs::exists(desk.paths.config()));
    fs::rename(desk.folder / "away", desk.paths.run);

    BOOST_REQUIRE(revert(desk.paths, said)); // as the timer does
    BOOST_TEST(desk.calls() == "systemctl stop penstockd.service penstock-guard.service\n"
                               "penstockd guard release --config " +
                                   desk.paths.draft().string() + "\nsystemctl stop penstock-unconfirmed.timer\n");
    BOOST_TEST(!fs::exists(fs::symlink_status(desk.paths.config())));
    BOOST_TEST(!fs::exists(desk.paths.run));

    BOOST_REQUIRE(arm(desk.paths, std::chrono::minutes(7), said)); // and once more, from the same draft
    BOOST_REQUIRE(confirm(desk.paths, said));
    BOOST_TEST(!fs::is_symlink(desk.paths.config()));
    BOOST_TEST(desk.gateway_in_force() == "gw-1");
    BOOST_TEST(!revert(desk.paths, said)); // a timer that comes late changes nothing
    BOOST_TEST(desk.gateway_in_force() == "gw-1");
}

BOOST_AUTO_TEST_CASE(an_unconfirmed_change_gives_back_what_was_there) {
    const Desk desk;
    desk.draft("before");
    Said said;
    BOOST_REQUIRE(arm(desk.paths, std::chrono::minutes(0), said));
    desk.draft("after");
    BOOST_REQUIRE(arm(desk.paths, std::chrono::minutes(7), said));
    BOOST_TEST(desk.gateway_in_force() == "after");
    (void)desk.calls();
    BOOST_REQUIRE(revert(desk.paths, said));
    BOOST_TEST(desk.gateway_in_force() == "before");
    BOOST_TEST(fs::exists(desk.paths.draft()));
    // The gate is never opened.
    BOOST_TEST(desk.calls().starts_with("nsenter --mount=/proc/1/ns/mnt umount --lazy " + desk.paths.config().string() +
                                        "\nsystemctl restart penstockd.service\n"));
    BOOST_REQUIRE(arm(desk.paths, std::chrono::minutes(7), said));
    BOOST_REQUIRE(confirm(desk.paths, said));
    BOOST_TEST(desk.gateway_in_force() == "after");
}

BOOST_AUTO_TEST_CASE(without_a_way_back_nothing_is_armed) {
    const Desk desk;
    desk.draft("gw-1");
    desk.fails("systemd-run");
    Said said;
    const auto refused = arm(desk.paths, std::chrono::minutes(7), said);
    BOOST_REQUIRE(!refused);
    BOOST_TEST(refused.error().message() == "systemd-run failed: cannot");
    BOOST_TEST(desk.gateway_in_force() == "none");
    BOOST_TEST(!fs::exists(desk.paths.run));
    // Nor does a daemon that does not start leave anything behind.
    desk.works("systemd-run");
    desk.tool("systemctl", "[ \"$1\" != restart ]");
    BOOST_TEST(!arm(desk.paths, std::chrono::minutes(7), said));
    BOOST_TEST(desk.gateway_in_force() == "none");
    BOOST_TEST(!fs::exists(desk.paths.run));
    BOOST_TEST(fs::exists(desk.paths.draft()));
}

BOOST_AUTO_TEST_SUITE_END()
