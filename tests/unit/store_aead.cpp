// agent/store/aead: AES-256-GCM and HKDF as published, and nothing that is not authentic comes out.
#include "agent/store/aead.hpp"
#include "agent/store/keyring.hpp"
#include "tests/unit/policy_fixture.hpp"
#include "tests/unit/wycheproof.hpp"

#include <iostream>

using namespace penstock;
using namespace penstock::store;
using penstock::test::unhex;

BOOST_AUTO_TEST_SUITE(store_aead)

// The GCM specification of McGrew and Viega, test case 16.
BOOST_AUTO_TEST_CASE(agrees_with_the_specification_of_gcm) {
    const auto key = *Key::from_bytes(unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"));
    const auto nonce = unhex("cafebabefacedbaddecaf888");
    const auto associated = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    const auto plaintext = unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                                 "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    const auto sealed = encrypt(key, nonce, associated, plaintext);
    BOOST_REQUIRE(sealed);
    BOOST_TEST(hex(*sealed) == "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                               "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                               "76fc6ece0f4e1768cddf8853bb2d551b");
    BOOST_TEST(*decrypt(key, nonce, associated, *sealed) == plaintext);
}

BOOST_AUTO_TEST_CASE(agrees_with_wycheproof, *boost::unit_test::precondition(test::HaveVectors{"aes_gcm_test.json"})) {
    const auto all = test::read_vectors("aes_gcm_test.json");
    std::size_t valid = 0, invalid = 0, refused = 0, agreed = 0;
    for (const auto& group : all["testGroups"])
        for (const auto& test : group["tests"]) {
            const auto bytes = [&](const char* name) { return unhex(test[name].get<std::string>()); };
            const auto key = Key::from_bytes(bytes("key"));
            const auto nonce = bytes("iv");
            const bool ours = group["keySize"] == 256 && group["ivSize"] == 96;
            if (!ours) {
                const bool either = !key || !decrypt(*key, nonce, bytes("aad"), bytes("ct") + bytes("tag"));
                BOOST_TEST(either, "test " << test["tcId"]);
                refused += either;
                continue;
            }
            BOOST_REQUIRE(key);
            const bool expected = test["result"] == "valid";
            (expected ? valid : invalid)++;
            const auto plaintext = decrypt(*key, nonce, bytes("aad"), bytes("ct") + bytes("tag"));
            bool right = plaintext.has_value() == expected;
            if (expected && plaintext)
                right = *plaintext == bytes("msg") &&
                        *encrypt(*key, nonce, bytes("aad"), *plaintext) == bytes("ct") + bytes("tag");
            BOOST_TEST(right, "test " << test["tcId"] << ": " << test["comment"]);
            agreed += right;
        }
    BOOST_TEST(valid == 39U);
    BOOST_TEST(invalid == 27U);
    BOOST_TEST(valid + invalid + refused == all["numberOfTests"].get<std::size_t>());
    std::cout << "# Wycheproof AES-256-GCM, nonces of 96 bits: " << agreed << " of " << valid + invalid
              << " vectors as marked (" << valid << " valid, " << invalid << " invalid); " << refused
              << " of other sizes refused\n";
}

// RFC 5869, A.1 has a secret of 22 bytes, ours have 32: its salt and info, and what its construction gives when it is
// done with HMAC-SHA256 alone.
BOOST_AUTO_TEST_CASE(derives_by_salt_and_info) {
    const auto key = *Key::from_bytes(std::string(32, '\x0b'));
    const auto salt = unhex("000102030405060708090a0b0c"), info = unhex("f0f1f2f3f4f5f6f7f8f9");
    const auto derived = derive(key, salt, info, 42);
    BOOST_REQUIRE(derived);
    BOOST_TEST(hex(*derived) == "d4100799f26a09615a72af3e58fa3841a2ff20d5ace3fb392e562e207fe6b718581eea4341652d405fe5");
    BOOST_TEST(derive(key, salt, info, 44)->starts_with(*derived));
    BOOST_TEST(*derive(key, salt, "", 42) != *derived);
    BOOST_TEST(*derive(key, "", info, 42) != *derived);
}

BOOST_AUTO_TEST_CASE(refuses_whatever_was_changed) {
    const auto key = *Key::random(), other = *Key::random();
    const std::string nonce(12, 'n');
    const auto sealed = *encrypt(key, nonce, "role", "content");
    BOOST_TEST(*decrypt(key, nonce, "role", sealed) == "content");
    for (std::size_t bit = 0; bit < sealed.size() * 8; bit++) {
        auto changed = sealed;
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
        BOOST_TEST(!decrypt(key, nonce, "role", changed), "bit " << bit);
    }
    for (std::size_t size = 0; size < sealed.size(); size++)
        BOOST_TEST(!decrypt(key, nonce, "role", sealed.substr(0, size)), size << " bytes");
    BOOST_TEST(!decrypt(key, nonce, "rolf", sealed));
    BOOST_TEST(!decrypt(key, std::string(12, 'm'), "role", sealed));
    BOOST_TEST(!decrypt(other, nonce, "role", sealed));
    BOOST_TEST(decrypt(other, nonce, "role", sealed).error().code() == EBADMSG);
}

BOOST_AUTO_TEST_CASE(sizes_are_checked) {
    for (const std::size_t size : {0U, 16U, 24U, 31U, 33U})
        CHECK_REFUSED(Key::from_bytes(std::string(size, 'k')), "a key has 32 bytes");
    const auto key = *Key::random();
    for (const std::size_t size : {0U, 8U, 11U, 13U, 16U})
        CHECK_REFUSED(encrypt(key, std::string(size, 'n'), "", "x"), "a nonce has 12 bytes");
    BOOST_TEST(*decrypt(key, std::string(12, 'n'), "", *encrypt(key, std::string(12, 'n'), "", "")) == "");
}

BOOST_AUTO_TEST_SUITE_END()
