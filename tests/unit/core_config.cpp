// The configuration is read strictly: every mistake is named with file, line and mend.
#include "agent/core/config.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using penstock::core::Config;

namespace {

const std::string kGood = R"([gateway]
name = "gw-1"
[lan]
interfaces = ["lan0"]
[uplink]
interfaces = ["wan0"]
[ike]
certificate = "gateway.pem"
private_key = "/keys/gateway.key"
ca = ["ca.pem"]
[[tunnel]]
name = "cloud"
peer = "192.0.2.2"
local_id = "gw-1.example"
remote_id = "cloud.example"
local_networks = ["10.20.0.0/24", "fd20::/64"]
remote_networks = ["203.0.113.0/24"]
[policy]
root = "root.json"
)";

struct Folder {
    std::filesystem::path path;
    Folder() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        path = mkdtemp(name);
    }
    ~Folder() { std::filesystem::remove_all(path); }
    penstock::Result<Config> load(const std::string& text) const {
        std::ofstream(path / "penstock.toml") << text;
        return Config::load(path / "penstock.toml");
    }
    // The error of the good file with one piece replaced.
    [[nodiscard]] std::string error(const std::string& piece, const std::string& other) const {
        auto text = kGood;
        const auto at = text.find(piece);
        BOOST_REQUIRE(at != std::string::npos);
        const auto config = load(text.replace(at, piece.size(), other));
        return config ? "" : config.error().message();
    }
};

bool says(const std::string& message, const std::string& what) {
    const bool found = message.find(what) != std::string::npos;
    if (!found)
        BOOST_TEST_MESSAGE("\"" << message << "\" does not say \"" << what << "\"");
    return found;
}

} // namespace

BOOST_AUTO_TEST_SUITE(core_config)

BOOST_AUTO_TEST_CASE(reads_a_good_file_and_resolves_paths_beside_it) {
    const Folder folder;
    const auto config = folder.load(kGood);
    BOOST_REQUIRE_MESSAGE(config, (config ? "" : config.error().message()));
    BOOST_TEST(config->gateway == "gw-1");
    BOOST_TEST(config->certificate == folder.path / "gateway.pem");
    BOOST_TEST(config->private_key == "/keys/gateway.key");
    BOOST_TEST(!config->host_egress_open);
    BOOST_TEST(!config->lock_on_expiry);
    BOOST_TEST(config->mark_mask == 0x30000000U);
    BOOST_REQUIRE(config->tunnels.size() == 1U);
    BOOST_TEST(config->tunnels[0].local_networks.size() == 2U);
}

BOOST_AUTO_TEST_CASE(names_file_and_line_of_an_unknown_key) {
    const Folder folder;
    const auto message = folder.error("name = \"gw-1\"\n", "name = \"gw-1\"\nnmae = 1\n");
    BOOST_TEST(says(message, "penstock.toml:3: unknown key [gateway] nmae; known are name"));
    BOOST_TEST(says(folder.error("[policy]", "[polizy]"), "unknown section [polizy]; did you mean \"policy\"?"));
    BOOST_TEST(says(folder.error("remote_networks =", "remote_network ="), "did you mean \"remote_networks\"?"));
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_toml_in_words) {
    const Folder folder;
    const auto said = folder.error("[[tunnel]]", "[[)tunnel]]"); // toml++ asserts that no such thing comes
    BOOST_TEST(says(said, "penstock.toml:11: "));
    BOOST_TEST(says(said, "expected bare key"));
    BOOST_TEST(says(folder.error("[[tunnel]]", "\u00e9 = 1\n[[tunnel]]"), "penstock.toml:11: "));
    BOOST_TEST(says(folder.error("[[tunnel]]", "\ufe7f = 1\n[[tunnel]]"), "penstock.toml:11: "));
}

BOOST_AUTO_TEST_CASE(refuses_wrong_types_and_values) {
    const Folder folder;
    BOOST_TEST(says(folder.error("[\"lan0\"]", "\"lan0\""), "must be a list"));
    BOOST_TEST(says(folder.error("\"192.0.2.2\"", "7"), "peer must be an IP address"));
    BOOST_TEST(says(folder.error("203.0.113.0/24", "203.0.113.1/24"), "without host bits"));
    BOOST_TEST(says(folder.error("interfaces = [\"wan0\"]", "interfaces = [\"wan0\"]\nhost_egress = \"ajar\""),
                    "host_egress must be one of"));
    BOOST_TEST(says(folder.error("name = \"gw-1\"", "name = gw-1"), "penstock.toml:2"));
    BOOST_TEST(says(folder.error("peer = \"192.0.2.2\"\n", ""), "missing [[tunnel]] peer"));
}

BOOST_AUTO_TEST_CASE(knows_what_pppoe_is_spoken_on) {
    const Folder folder;
    const auto error = [&](const char* lines) {
        return folder.error("interfaces = [\"wan0\"]", "interfaces = [\"ppp0\"]\npppoe = [" + std::string(lines) + "]");
    };
    BOOST_TEST(says(error("\"wan0\""), "write it as \"ppp0@wan0\""));
    BOOST_TEST(says(error("\"ppp0@\""), "write it as \"ppp0@wan0\""));
    BOOST_TEST(says(error("\"ppp1@wan0\""), "ppp1 is not among [uplink] interfaces"));
    BOOST_TEST(says(error("\"ppp0@lan0\""), "lan0 is a LAN"));
}

BOOST_AUTO_TEST_CASE(refuses_contradictions) {
    const Folder folder;
    BOOST_TEST(says(folder.error("[\"wan0\"]", "[\"lan0\"]"), "either LAN or uplink"));
    BOOST_TEST(says(folder.error("203.0.113.0/24", "192.0.2.0/24"), "holds the peer"));
    BOOST_TEST(says(folder.error("203.0.113.0/24", "10.0.0.0/8"), "overlap"));
    BOOST_TEST(says(folder.error("192.0.2.2", "10.20.0.2"), "is inside local network 10.20.0.0/24"));
    BOOST_TEST(says(folder.error("lan0", "lo"), "neither LAN nor uplink"));
    BOOST_TEST(says(folder.error("lan0", "an-interface-too-long"), "at most 15 characters"));
    BOOST_TEST(says(folder.error("[policy]", "[paths]\nstate = \"state\"\n[policy]"), "absolute path"));
    BOOST_TEST(
        says(folder.error("[policy]", "[paths]\nlibexec = \"bin\"\n[policy]"), "libexec must be an absolute path"));
    BOOST_TEST(says(folder.error("[policy]", "[policy]\ndevices = 100001"), "from 1 to 100000"));
    BOOST_TEST(says(folder.error("[policy]", "[policy]\nflows = 100"), "must be 16, 32, 64, 128 or 256"));
    BOOST_TEST(says(folder.error("[policy]", "[policy]\nflows = 512"), "from 16 to 256"));
    BOOST_TEST(says(folder.error("203.0.113.0/24", "0.0.0.0/0"), "cannot be everything"));
    BOOST_TEST(says(folder.error("[policy]", "[mark]\nmask = 0x50000000\n[policy]"), "two adjacent bits"));
    BOOST_TEST(says(folder.error("[policy]", "[mark]\nmask = 0x80000000\n[policy]"), "two adjacent bits"));
    BOOST_TEST(says(folder.error("[policy]", "[routing]\ntable = 254\n[policy]"),
                    "[routing] table must be a whole number from 256"));
}

BOOST_AUTO_TEST_CASE(refuses_proposals_without_aead) {
    const Folder folder;
    const auto message =
        folder.error("peer = \"192.0.2.2\"", "peer = \"192.0.2.2\"\nesp_proposal = \"aes256-sha256-modp2048\"");
    BOOST_TEST(says(message, "has no AEAD cipher"));
    const auto with = [&](const std::string& key, const std::string& proposals) {
        return folder.error("peer = ", key + " = \"" + proposals + "\"\npeer = ");
    };
    for (const char* good :
         {"aes256gcm16-ecp384-esn", "chacha20poly1305-x25519", "aes256gcm16-ecp384, aes128gcm128-ecp256"})
        BOOST_TEST(with("esp_proposal", good) == "", good);
    BOOST_TEST(with("ike_proposal", "aes256ccm16-prfsha384-ecp384,aes256gcm12-prfaesxcbc-ecp384") == "");
    // One of a list is enough to spoil it, and so is a weak cipher beside a good one.
    BOOST_TEST(says(with("esp_proposal", "aes256gcm16-ecp384,aes256-sha256-ecp384"),
                    "\"aes256-sha256-ecp384\" has no AEAD cipher"));
    BOOST_TEST(says(with("ike_proposal", "aes256gcm16-aes256-sha256-ecp384"), "has a cipher that is no AEAD"));
    BOOST_TEST(says(with("esp_proposal", "aes256gcm8-ecp384"), "has no AEAD cipher"));
    BOOST_TEST(says(with("esp_proposal", "aes256gmac-ecp384"), "has no AEAD cipher"));
    BOOST_TEST(says(with("esp_proposal", ","), "names no proposal"));
    std::string many = "aes256gcm16-ecp384";
    for (int i = 0; i < 20; i++)
        many += ",aes256gcm16-ecp384";
    BOOST_TEST(says(with("esp_proposal", many), "more than 255 bytes"));
}

BOOST_AUTO_TEST_CASE(refuses_what_the_channel_to_ike_has_no_room_for) {
    const Folder folder;
    BOOST_TEST(says(folder.error("\"cloud.example\"", "\"" + std::string(256, 'c') + "\""),
                    "remote_id has more than 255 bytes"));
    BOOST_TEST(folder.error("\"cloud.example\"", "\"" + std::string(255, 'c') + "\"") == "");
    std::string networks;
    for (int i = 0; i < 33; i++)
        networks += (i == 0 ? "\"10.1." : ", \"10.1.") + std::to_string(i) + ".0/24\"";
    BOOST_TEST(says(folder.error("\"203.0.113.0/24\"", networks), "remote_networks has more than 32 networks"));
}

BOOST_AUTO_TEST_CASE(refuses_a_file_that_others_may_change) {
    const Folder folder;
    BOOST_REQUIRE(folder.load(kGood));
    const auto file = folder.path / "penstock.toml";
    for (const auto mode : {0620, 0602, 0666}) {
        std::filesystem::permissions(file, static_cast<std::filesystem::perms>(mode));
        const auto config = Config::load(file);
        BOOST_REQUIRE(!config);
        BOOST_TEST(says(config.error().message(), "may be written by others than its owner; mend: chmod go-w"));
    }
    std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0640));
    BOOST_TEST(Config::load(file).has_value());
}

BOOST_AUTO_TEST_CASE(tells_all_mistakes_at_once) {
    const Folder folder;
    auto text = kGood;
    text.replace(text.find("\"gw-1\""), 6, "7");
    text.replace(text.find("\"cloud.example\""), 15, "[]");
    const auto config = folder.load(text);
    BOOST_REQUIRE(!config);
    BOOST_TEST(says(config.error().message(), "[gateway] name"));
    BOOST_TEST(says(config.error().message(), "remote_id"));
}

BOOST_AUTO_TEST_CASE(says_why_a_file_cannot_be_read) {
    const auto config = Config::load("/nonexistent/penstock.toml");
    BOOST_REQUIRE(!config);
    BOOST_TEST(says(config.error().message(), "/nonexistent/penstock.toml"));
}

BOOST_AUTO_TEST_SUITE_END()
