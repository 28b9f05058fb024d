// What leaves the gateway about a device is pseudonymous, wherever in a text it stands.
#include "agent/core/privacy.hpp"

#include "agent/core/config.hpp"

#include <boost/test/unit_test.hpp>

#include <regex>

using namespace penstock;
using core::Privacy;

namespace {

core::Config config() {
    core::Config out;
    core::TunnelConfig tunnel;
    tunnel.peer = *IpAddress::parse("192.0.2.2");
    tunnel.local_networks = {*IpPrefix::parse("10.20.0.0/24"), *IpPrefix::parse("fd20::/64")};
    out.tunnels.push_back(tunnel);
    return out;
}

Privacy privacy(const std::string& digits = std::string(64, '1')) {
    auto out = *Privacy::make(config());
    out.set_key(*store::Key::from_hex(digits));
    return out;
}

bool looks_like(const std::string& text, const std::string& pattern) {
    const bool same = std::regex_match(text, std::regex(pattern));
    if (!same)
        BOOST_TEST_MESSAGE("\"" << text << "\" is not like " << pattern);
    return same;
}

} // namespace

BOOST_AUTO_TEST_SUITE(core_privacy)

BOOST_AUTO_TEST_CASE(devices_have_pseudonyms) {
    const auto veil = privacy();
    BOOST_TEST(looks_like(veil.veil_text("02:00:00:00:00:12"), "mac-[0-9a-f]{10}"));
    BOOST_TEST(looks_like(veil.veil_text("10.20.0.12"), "ip-[0-9a-f]{10}"));
    BOOST_TEST(looks_like(veil.veil_text("fd20::12"), "ip-[0-9a-f]{10}"));
    BOOST_TEST(looks_like(veil.veil_text("fe80::ff:fe00:12%lan0"), "ip-[0-9a-f]{10}%lan0"));
    // However it is written, it is the same one; another one is not.
    BOOST_TEST(veil.veil_text("02:AB:00:00:00:12") == veil.veil_text("02:ab:00:00:00:12"));
    BOOST_TEST(veil.veil_text("fd20:0::12") == veil.veil_text("fd20::12"));
    BOOST_TEST(veil.veil_text("10.20.0.12") != veil.veil_text("10.20.0.13"));
    BOOST_TEST(veil.veil_text("10.20.0.12/32") == veil.veil_text("10.20.0.12"));
    BOOST_TEST(veil.veil_text(veil.veil_text("10.20.0.12")) == veil.veil_text("10.20.0.12"));
}

BOOST_AUTO_TEST_CASE(pseudonyms_depend_on_the_key) {
    BOOST_TEST(privacy().veil_text("10.20.0.12") == privacy().veil_text("10.20.0.12"));
    BOOST_TEST(privacy().veil_text("10.20.0.12") != privacy(std::string(64, '2')).veil_text("10.20.0.12"));
    BOOST_TEST(Privacy::make(config())->veil_text("10.20.0.12") != Privacy::make(config())->veil_text("10.20.0.12"));
}

BOOST_AUTO_TEST_CASE(other_addresses_are_shortened) {
    const auto veil = privacy();
    BOOST_TEST(veil.veil_text("203.0.113.10") == "203.0.113.0/24");
    BOOST_TEST(veil.veil_text("203.0.113.10/32") == "203.0.113.0/24");
    BOOST_TEST(veil.veil_text("203.0.113.8/29") == "203.0.113.0/24");
    BOOST_TEST(veil.veil_text("2001:db8:203::10") == "2001:db8:203::/48");
    BOOST_TEST(veil.veil_text("::ffff:10.20.0.12") == "::/48");
}

BOOST_AUTO_TEST_CASE(finds_them_in_sentences) {
    const auto veil = privacy();
    const auto ip = veil.veil_text("10.20.0.12"), mac = veil.veil_text("02:00:00:00:00:12");
    for (const auto& [before, after] : std::initializer_list<std::pair<std::string, std::string>>{
             {"02:00:00:00:00:12 holds 10.20.0.12.", mac + " holds " + ip + "."},
             {"10.20.0.12:443 [fd20::12]:443", ip + ":443 [" + veil.veil_text("fd20::12") + "]:443"},
             {"from=10.20.0.12, to (203.0.113.10)", "from=" + ip + ", to (203.0.113.0/24)"},
             {"10.20.0.12-10.20.0.12", ip + "-" + ip},
             {"10.20.0.12/24", ip},
             {"02:00:00:00:00:12: 10.20.0.12: no", mac + ": " + ip + ": no"}})
        BOOST_TEST(veil.veil_text(before) == after);
}

BOOST_AUTO_TEST_CASE(leaves_what_is_no_devices) {
    const auto veil = privacy();
    for (const std::string text : {"192.0.2.2",
                                   "10.20.0.0/24",
                                   "fd20::/64",
                                   "10.0.0.0/8",
                                   "203.0.113.0/24",
                                   "0.0.0.0/0",
                                   "::/0",
                                   "127.0.0.1",
                                   "2026-11-23T22:10:21.123Z",
                                   "policy.yaml:12",
                                   "5.9.8",
                                   "thermostat-12",
                                   "std::string",
                                   "17:3f5c0d6c9e4a",
                                   "0xc0000001",
                                   "AES_GCM_16_256/ECP_384",
                                   "ff:ff:ff:ff:ff:ff",
                                   "",
                                   ":",
                                   "...",
                                   "22:00-05:00",
                                   "tcp/443"})
        BOOST_TEST(veil.veil_text(text) == text);
}

BOOST_AUTO_TEST_CASE(veils_every_text_of_an_answer_but_what_was_said) {
    const auto veil = privacy();
    const nlohmann::json answer = {
        {"ok", true},
        {"n", 7},
        {"devices", {{{"mac", "02:00:00:00:00:12"}, {"addresses", {"10.20.0.12", "10.20.0.13"}}}}}};
    const std::set<IpAddress> said = {*IpAddress::parse("10.20.0.13")};
    const auto shown = veil.veil(answer, said);
    BOOST_TEST(shown["n"] == 7);
    BOOST_TEST(shown["devices"][0]["mac"] == veil.veil_text("02:00:00:00:00:12"));
    BOOST_TEST(shown["devices"][0]["addresses"][0] == veil.veil_text("10.20.0.12"));
    BOOST_TEST(shown["devices"][0]["addresses"][1] == "10.20.0.13");
}

BOOST_AUTO_TEST_CASE(hides_nothing_where_the_operator_says_so) {
    auto open = config();
    open.full_identities = true;
    BOOST_TEST(Privacy::make(open)->veil_text("10.20.0.12 02:00:00:00:00:12 203.0.113.10") ==
               "10.20.0.12 02:00:00:00:00:12 203.0.113.10");
}

BOOST_AUTO_TEST_CASE(nobody_is_no_operator) {
    BOOST_TEST(core::is_operator(0));
    BOOST_TEST(!core::is_operator(65534));
    BOOST_TEST(!core::is_operator(4'000'000'000U));
}

BOOST_AUTO_TEST_SUITE_END()
