// [bundle] of the configuration: where bundles are fetched from.
#include "agent/core/bundle_config.hpp"

#include "agent/base/file.hpp"
#include "agent/core/config_section.hpp"
#include "tests/unit/state_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace penstock;
using namespace penstock::core;

namespace {

struct Read {
    BundleConfig bundle;
    std::string error;
};

Read read(const std::string& text, const std::optional<std::string>& api_user = {}) {
    const auto table = toml::parse(text);
    Complaints complaints("penstock.toml");
    Section section("[bundle]", &table, complaints);
    Read out{.bundle = read_bundle(section, api_user), .error = {}};
    if (const auto ok = complaints.status(); !ok)
        out.error = ok.error().message();
    return out;
}

Read url(const std::string& text) { return read("url = \"" + text + "\"\n"); }

bool says(const std::string& message, const std::string& part) { return message.find(part) != std::string::npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(bundle_config)

BOOST_AUTO_TEST_CASE(reads_a_whole_section) {
    auto one = read("url = \"https://Bundles.Example:8443/a/gw-1.bundle?x=1\"\ninterval = 300\nca = [\"ca.pem\"]\n"
                    "certificate = \"gw.pem\"\nprivate_key = \"/etc/gw.key\"\nproxy = \"http://proxy.example:3128\"\n"
                    "user = \"puller\"\n");
    BOOST_TEST(one.error == "");
    BOOST_TEST(one.bundle.host() == "Bundles.Example");
    BOOST_TEST(one.bundle.interval.count() == 300);
    one.bundle.resolve("/etc/penstock");
    BOOST_TEST(one.bundle.ca.front() == "/etc/penstock/ca.pem");
    BOOST_TEST(one.bundle.certificate == "/etc/penstock/gw.pem");
    BOOST_TEST(one.bundle.private_key == "/etc/gw.key");
    BOOST_TEST(one.bundle.user == "puller");
}

BOOST_AUTO_TEST_CASE(has_defaults) {
    auto one = url("https://[2001:db8::1]/b");
    BOOST_TEST(one.error == "");
    BOOST_TEST(one.bundle.host() == "[2001:db8::1]");
    BOOST_TEST(one.bundle.interval.count() == 900);
    BOOST_TEST(one.bundle.user == "penstock-api");
    one.bundle.resolve("/etc/penstock");
    BOOST_TEST(one.bundle.certificate == "");
    BOOST_TEST(one.bundle.private_key == "");
}

BOOST_AUTO_TEST_CASE(fetches_over_https_alone) {
    BOOST_TEST(says(url("http://bundles.example/b").error, "penstock.toml:1: [bundle] url must begin with https://"));
    for (const auto* bad :
         {"ftp://a.example/b", "bundles.example/b", "https://", "https:///b", "https://:443/b", "https://a.example:0/b",
          "https://a.example:70000/b", "https://a.example:8443x/b", "https://u:p@a.example/b", "https://u@a.example/b",
          "https://a.example/ b", "https://a.example/b#c", "https://2001:db8::1/b", "https://[2001:db8::1/b",
          "https://[x]/b", "https://a_\\u00e4.example/b", "https://a.example\\\\@b/c"})
        BOOST_TEST(says(url(bad).error, "[bundle] url "), bad);
    BOOST_TEST(says(url("https://u:p@a.example/b").error, "must not have a name or password"));
    BOOST_TEST(says(url("https://a.example/" + std::string(2100, 'x')).error, "2048 bytes"));
    for (const auto* good : {"https://a.example", "https://192.0.2.1:8443/b", "https://a.example/x@y:z"})
        BOOST_TEST(url(good).error == "", good);
}

BOOST_AUTO_TEST_CASE(says_what_is_wrong_with_line_and_mend) {
    const std::string good = "url = \"https://a.example/b\"\n";
    BOOST_TEST(says(read("interval = 300\n").error, "missing [bundle] url"));
    BOOST_TEST(says(read(good + "interval = 5\n").error, "penstock.toml:2: [bundle] interval must be a whole number "
                                                         "from 60 to 604800"));
    BOOST_TEST(says(read(good + "interval = \"15m\"\n").error, "[bundle] interval must be a whole number"));
    BOOST_TEST(says(read(good + "certificate = \"a.pem\"\n").error, "name both or neither"));
    BOOST_TEST(says(read(good + "private_key = \"a.key\"\n").error, "name both or neither"));
    for (const auto* bad : {"proxy.example:3128", "https://proxy.example:3128", "http://proxy.example",
                            "http://u:p@proxy.example:3128", "http://proxy.example:3128/x", "socks5://p:1"})
        BOOST_TEST(says(read(good + "proxy = \"" + bad + "\"\n").error, "penstock.toml:2: [bundle] proxy must be"),
                   bad);
    BOOST_TEST(read(good + "proxy = \"http://[2001:db8::2]:3128/\"\n").error == "");
}

// LEAKS.md row 42: whoever writes this file chooses where bytes come from, and nothing of what is believed.
BOOST_AUTO_TEST_CASE(names_nothing_that_is_trusted) {
    for (const auto* key : {"root = \"other.json\"", "policy_key = \"k.pem\"", "keys = [\"k.pem\"]", "threshold = 1",
                            "insecure = true", "verify = false"})
        BOOST_TEST(
            says(read("url = \"https://a.example/b\"\n" + std::string(key) + "\n").error, "unknown key [bundle]"), key);
}

BOOST_AUTO_TEST_CASE(shares_the_socket_of_the_api) {
    const std::string good = "url = \"https://a.example/b\"\n";
    BOOST_TEST(read(good, "listener").bundle.user == "listener");
    BOOST_TEST(says(read(good + "user = \"another\"\n", "listener").error, "[bundle] user must be that of [api]"));
    BOOST_TEST(read(good + "user = \"listener\"\n", "listener").error == "");
}

BOOST_AUTO_TEST_CASE(settings_are_what_penstock_pull_needs) {
    const test::StateFolder lab;
    const auto file = lab.top / "penstock.toml";
    const auto load = [&](const std::string& text) {
        BOOST_REQUIRE(write_file_atomically(file, text));
        return load_pull_settings(file);
    };
    const auto one = load("[api]\nuser = \"listener\"\n[bundle]\nurl = \"https://a.example/b\"\nca = [\"ca.pem\"]\n"
                          "[paths]\nrun = \"/run/x\"\n");
    BOOST_REQUIRE(one);
    BOOST_TEST(one->bundle->user == "listener");
    BOOST_TEST(one->bundle->ca.front() == lab.top / "ca.pem");
    BOOST_TEST(one->socket == "/run/x/api.sock");
    BOOST_TEST(!load("[paths]\n")->bundle.has_value());
    const auto wrong = load("\nbundle = 1\n");
    BOOST_TEST(says(wrong.error().message(), "penstock.toml:2: bundle must be a section"));
}

BOOST_AUTO_TEST_SUITE_END()
