// [api] of the configuration: who listens where, and who may do what.
#include "agent/core/api_config.hpp"

#include "agent/core/config_section.hpp"

#include <boost/test/unit_test.hpp>

using namespace penstock;
using namespace penstock::core;

namespace {

const std::string kGood =
    "listen = \"198.51.100.2:8443\"\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\nca = [\"ca.pem\"]\n";
const std::string kDigits = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

struct Read {
    ApiConfig api;
    std::string error;
};

Read read(const std::string& text) {
    const auto table = toml::parse(text);
    Complaints complaints("penstock.toml");
    Section section("[api]", &table, complaints);
    Read out{.api = read_api(section), .error = {}};
    if (const auto ok = complaints.status(); !ok)
        out.error = ok.error().message();
    return out;
}

bool says(const std::string& message, const std::string& part) {
    const bool found = message.find(part) != std::string::npos;
    if (!found)
        BOOST_TEST_MESSAGE("\"" << message << "\" does not say \"" << part << "\"");
    return found;
}

} // namespace

BOOST_AUTO_TEST_SUITE(api_config)

BOOST_AUTO_TEST_CASE(reads_a_whole_section) {
    const auto read_ = read(kGood +
                            "crl = [\"c.crl\"]\nallow_lan = true\nuser = \"api\"\nviewers = [\"dns:Monitor.Example\"]\n"
                            "operators = [\"email:a@b.example\", \"ip:2001:DB8::1\"]\npublishers = [\"sha256:" +
                            kDigits + "\"]\n");
    BOOST_TEST(read_.error == "");
    BOOST_TEST(read_.api.listen.str() == "198.51.100.2:8443");
    BOOST_TEST(read_.api.allow_lan);
    BOOST_TEST(read_.api.clients.size() == 4U);
    BOOST_CHECK(read_.api.role_of({"dns:monitor.example"}) == Role::viewer);
    BOOST_CHECK(read_.api.role_of({"ip:2001:db8::1"}) == Role::operating);
}

BOOST_AUTO_TEST_CASE(of_several_names_the_one_that_may_most_counts) {
    const auto one = read(kGood + "viewers = [\"dns:a.example\"]\npublishers = [\"dns:b.example\"]\n");
    BOOST_TEST(one.error == "");
    BOOST_CHECK(one.api.role_of({"dns:a.example", "dns:b.example"}) == Role::publisher);
    BOOST_CHECK(one.api.role_of({"dns:a.example", "dns:c.example"}) == Role::viewer);
    BOOST_CHECK(one.api.role_of({"email:a.example", "uri:b.example", "dns:b.example.", "dns:x.b.example"}) ==
                Role::none);
    BOOST_CHECK(one.api.role_of({}) == Role::none);
}

BOOST_AUTO_TEST_CASE(names_of_clients_have_one_form) {
    BOOST_TEST(*client_name("dns:CI.Example") == "dns:ci.example");
    BOOST_TEST(*client_name("uri:spiffe://A/b") == "uri:spiffe://A/b");
    BOOST_TEST(*client_name("ip:2001:db8:0::1") == "ip:2001:db8::1");
    std::string colons;
    for (std::size_t i = 0; i < kDigits.size(); i += 2)
        colons += (i ? ":" : "") + kDigits.substr(i, 2);
    BOOST_TEST(*client_name("sha256:" + colons) == *client_name("sha256:" + kDigits));
    for (const auto* bad : {"ci.example", "dns:", ":x", "cn:ci", "sha256:00", "ip:ci.example", ""})
        BOOST_TEST(!client_name(bad).has_value(), bad);
    BOOST_TEST(!client_name("sha256:" + kDigits + "00").has_value());
    BOOST_TEST(!client_name("sha256:" + kDigits.substr(1) + "g").has_value());
}

BOOST_AUTO_TEST_CASE(listens_on_one_address_and_port) {
    BOOST_TEST(Endpoint::parse("[2001:db8::2]:443")->str() == "[2001:db8::2]:443");
    for (const auto* bad : {"198.51.100.2", "198.51.100.2:", "198.51.100.2:0", "198.51.100.2:70000", "2001:db8::2:443",
                            "gw.example:443", "[198.51.100.2]:443", ":443", "198.51.100.2:8443x"})
        BOOST_TEST(!Endpoint::parse(bad).has_value(), bad);
    const auto with = [](const std::string& listen) {
        return read("listen = \"" + listen +
                    "\"\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\nca = [\"ca.pem\"]\n"
                    "viewers = [\"dns:a\"]")
            .error;
    };
    BOOST_TEST(with("127.0.0.1:1") == "");
    for (const auto* bad : {"0.0.0.0:8443", "[::]:8443", "224.0.0.1:8443", "[ff02::1]:8443", "[fe80::1]:8443"})
        BOOST_TEST(says(with(bad), "penstock.toml:1: [api] listen"), bad);
}

BOOST_AUTO_TEST_CASE(mistakes_are_named_with_their_line) {
    BOOST_TEST(says(read(kGood).error, "names no client"));
    BOOST_TEST(
        says(read(kGood + "viewer = [\"dns:a\"]").error, "penstock.toml:5: unknown key [api] viewer; did you mean"));
    BOOST_TEST(says(read(kGood + "viewers = [\"dns:a\"]\npublishers = [\"dns:A\"]").error,
                    "penstock.toml:6: client \"dns:A\" is named twice"));
    BOOST_TEST(says(read(kGood + "viewers = [\"a\"]").error, "a client is named by"));
    BOOST_TEST(says(read(kGood + "allow_lan = \"yes\"\nviewers = [\"dns:a\"]").error, "must be true or false"));
    BOOST_TEST(says(read("viewers = [\"dns:a\"]").error, "missing [api] ca"));
}

BOOST_AUTO_TEST_CASE(an_address_of_a_lan_must_be_wanted) {
    auto api =
        read(
            "listen = \"127.0.0.1:8443\"\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\nca = [\"ca.pem\"]\nviewers = [\"dns:a\"]")
            .api;
    BOOST_TEST(api.check_listen({"wan0"}).has_value());
    const auto refused = api.check_listen({"wan0", "lo"});
    BOOST_REQUIRE(!refused);
    BOOST_TEST(says(refused.error().message(), "127.0.0.1 is an address of the LAN lo"));
    api.allow_lan = true;
    BOOST_TEST(api.check_listen({"lo"}).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
