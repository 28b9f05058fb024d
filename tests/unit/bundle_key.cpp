// policy/bundle/key: signatures, PEM, one id for each key, and Project Wycheproof's Ed25519 vectors.
#include "agent/base/file.hpp"
#include "policy/bundle/encoding.hpp"
#include "tests/unit/bundle_fixture.hpp"
#include "tests/unit/wycheproof.hpp"

#include <filesystem>
#include <iostream>
#include <sys/stat.h>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::make_key;
using penstock::test::unhex;

namespace {

// RFC 8032, 5.1: L = 2^252 + 27742317777372353535851937790883648493, little endian.
using namespace std::string_view_literals;
constexpr auto kEd25519Order = "\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14"
                               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10"sv;

std::string ed25519_der(const std::string& raw) { return unhex("302a300506032b6570032100") + raw; }

} // namespace

BOOST_AUTO_TEST_SUITE(bundle_key)

BOOST_AUTO_TEST_CASE(agrees_with_wycheproof, *boost::unit_test::precondition(test::HaveVectors{"ed25519_test.json"})) {
    const auto all = test::read_vectors("ed25519_test.json");
    std::size_t valid = 0, invalid = 0, agreed = 0;
    for (const auto& group : all["testGroups"]) {
        const auto key = PublicKey::from_der(unhex(group["publicKeyDer"].get<std::string>()));
        BOOST_REQUIRE_MESSAGE(key, error_of(key));
        BOOST_TEST(key->der() == ed25519_der(unhex(group["publicKey"]["pk"].get<std::string>())));
        for (const auto& test : group["tests"]) {
            const bool expected = test["result"] == "valid";
            (expected ? valid : invalid)++;
            const bool verified =
                key->verify(unhex(test["msg"].get<std::string>()), unhex(test["sig"].get<std::string>()));
            agreed += verified == expected;
            BOOST_TEST(verified == expected, "test " << test["tcId"] << ": " << test["comment"]);
        }
    }
    BOOST_TEST(valid + invalid == 151U);
    BOOST_TEST(valid + invalid == all["numberOfTests"].get<std::size_t>());
    BOOST_TEST(valid > 0U);
    BOOST_TEST(invalid > 0U);
    std::cout << "# Wycheproof Ed25519: " << agreed << " of " << valid + invalid << " vectors as marked (" << valid
              << " valid, " << invalid << " invalid)\n";
}

BOOST_AUTO_TEST_CASE(refuses_every_other_form_of_an_ed25519_signature) {
    const PrivateKey key = make_key();
    const std::string good = *key.sign("message");
    std::string other = good;
    for (int i = 1; i < 16; i++) { // S + iL is the same modulo the group's order L, and fits into 32 bytes
        unsigned carry = 0;
        for (std::size_t at = 0; at < 32; at++) {
            carry += static_cast<unsigned char>(other[32 + at]) + static_cast<unsigned char>(kEd25519Order[at]);
            other[32 + at] = static_cast<char>(carry);
            carry >>= 8;
        }
        if (carry != 0)
            break;
        BOOST_TEST(!key.public_key().verify("message", other), "S + " << i << "L");
    }
    for (const std::string& wrong :
         {good.substr(0, 63), good + '\0', good.substr(0, 32), good.substr(32) + good.substr(0, 32),
          std::string(64, '\0'), std::string(64, '\xff'), good.substr(0, 32) + std::string(kEd25519Order)})
        BOOST_TEST(!key.public_key().verify("message", wrong), hex(wrong));
    for (std::size_t bit = 0; bit < 512; bit++) {
        other = good;
        other[bit / 8] = static_cast<char>(other[bit / 8] ^ 1 << bit % 8);
        BOOST_TEST(!key.public_key().verify("message", other), "bit " << bit);
    }
}

BOOST_AUTO_TEST_CASE(both_types_sign_and_verify) {
    for (const KeyType type : {KeyType::ed25519, KeyType::p256}) {
        const PrivateKey key = make_key(type), other = make_key(type);
        BOOST_CHECK(key.public_key().type() == type);
        std::string signature = *key.sign("message");
        BOOST_TEST(key.public_key().verify("message", signature));
        BOOST_TEST(!key.public_key().verify("messagf", signature));
        BOOST_TEST(!key.public_key().verify("", signature));
        BOOST_TEST(!key.public_key().verify("message", ""));
        BOOST_TEST(!key.public_key().verify("message", signature + "x"));
        BOOST_TEST(!other.public_key().verify("message", signature));
        signature.back() = static_cast<char>(signature.back() ^ 1);
        BOOST_TEST(!key.public_key().verify("message", signature));
    }
}

BOOST_AUTO_TEST_CASE(the_id_is_the_sha256_of_the_der) {
    // RFC 8032, 7.1, test 1.
    const auto key =
        PublicKey::from_der(ed25519_der(unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")));
    BOOST_REQUIRE(key);
    BOOST_TEST(key->id() == sha256_hex(key->der()));
    BOOST_TEST(key->verify(
        "", unhex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
                  "d25bf5f0595bbe24655141438e7a100b")));
}

BOOST_AUTO_TEST_CASE(pem_round_trips) {
    for (const KeyType type : {KeyType::ed25519, KeyType::p256}) {
        const PrivateKey key = make_key(type);
        const auto pem = key.pem();
        BOOST_REQUIRE(pem);
        BOOST_TEST(pem->text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        const auto again = PrivateKey::from_pem(*pem);
        BOOST_REQUIRE(again);
        BOOST_TEST(again->public_key().id() == key.public_key().id());
        const auto pub = PublicKey::from_pem(key.public_key().pem());
        BOOST_REQUIRE(pub);
        BOOST_TEST(pub->id() == key.public_key().id());
    }
}

BOOST_AUTO_TEST_CASE(refuses_other_encodings_of_the_same_key) {
    const std::string der = make_key(KeyType::p256).public_key().der();
    std::string compressed = unhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") +
                             static_cast<char>(2 + (der.back() & 1)) + der.substr(27, 32);
    CHECK_REFUSED(PublicKey::from_der(compressed), "is not an Ed25519 or uncompressed P-256 public key");
    CHECK_REFUSED(PublicKey::from_der(der + "x"), "is not an Ed25519");
    CHECK_REFUSED(PublicKey::from_der(der.substr(0, der.size() - 1)), "is not an Ed25519");
    std::string off_curve = der;
    off_curve.back() = static_cast<char>(off_curve.back() ^ 1);
    CHECK_REFUSED(PublicKey::from_der(off_curve), "is not a valid public key");
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_key) {
    CHECK_REFUSED(PublicKey::from_pem("nonsense"), "is not a public key in PEM");
    CHECK_REFUSED(PublicKey::from_pem(make_key().pem()->text), "is not a public key in PEM");
    CHECK_REFUSED(PrivateKey::from_pem(Secret(make_key().public_key().pem())), "is not a private key in PEM");
}

BOOST_AUTO_TEST_CASE(an_encrypted_key_opens_with_its_passphrase_only) {
    for (const KeyType type : {KeyType::ed25519, KeyType::p256}) {
        const PrivateKey key = make_key(type);
        const auto pem = key.encrypted_pem(Secret("correct horse"));
        BOOST_REQUIRE_MESSAGE(pem, error_of(pem));
        BOOST_TEST(pem->text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        const auto asking = [](std::string answer) {
            return [answer = std::move(answer)]() -> Result<Secret> { return Secret(answer); };
        };
        const auto again = PrivateKey::from_pem(*pem, asking("correct horse"));
        BOOST_REQUIRE_MESSAGE(again, error_of(again));
        BOOST_TEST(again->public_key().id() == key.public_key().id());
        for (const char* wrong : {"correct hors", "correct horse ", ""})
            CHECK_REFUSED(PrivateKey::from_pem(*pem, asking(wrong)), "the passphrase is wrong, or the file is damaged");
        CHECK_REFUSED(PrivateKey::from_pem(*pem, asking(std::string(5000, 'x'))), "the passphrase is wrong");
        CHECK_REFUSED(PrivateKey::from_pem(*pem), "nobody can be asked for its passphrase");
        CHECK_REFUSED(PrivateKey::from_pem(*pem, [] { return Result<Secret>(fail("not today")); }), "not today");
    }
    const auto never = []() -> Result<Secret> {
        BOOST_ERROR("asked for the passphrase of a key that is not encrypted");
        return fail("");
    };
    BOOST_CHECK(PrivateKey::from_pem(*make_key().pem(), never));
}

BOOST_AUTO_TEST_CASE(refuses_a_secret_key_that_others_can_read) {
    char folder[] = "/tmp/penstock-unit.XXXXXX";
    BOOST_REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/key.pem";
    BOOST_REQUIRE(write_file_atomically(path, make_key().pem()->text));
    BOOST_CHECK(load_private_key(path));
    BOOST_REQUIRE(::chmod(path.c_str(), 0640) == 0);
    CHECK_REFUSED(load_private_key(path), "run: chmod 600 ");
    std::filesystem::remove_all(folder);
}

BOOST_AUTO_TEST_SUITE_END()
