// policy/bundle/signature: a signature has one form; what others could make of it is refused.
#include "policy/bundle/encoding.hpp"
#include "policy/bundle/signature.hpp"
#include "tests/unit/bundle_fixture.hpp"

#include <openssl/bn.h>
#include <openssl/ec.h>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::Fleet;
using penstock::test::make_key;

namespace {

const std::string kOrder = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const std::string kHalf = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
const std::string kAboveHalf = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9";

std::string unhex(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2)
        out += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
    return out;
}

// INTEGER as DER has it: a zero before a set top bit.
std::string integer(std::string number) {
    if ((number[0] & 0x80) != 0)
        number.insert(number.begin(), '\0');
    return std::string("\x02") + static_cast<char>(number.size()) + number;
}
std::string sequence(const std::string& content) {
    return std::string("\x30") + static_cast<char>(content.size()) + content;
}
std::string der(const std::string& r, const std::string& s) { return sequence(integer(unhex(r)) + integer(unhex(s))); }

// n - s in place of s: what anybody can make of a signature.
std::string with_other_s(const std::string& signature) {
    const auto* at = reinterpret_cast<const unsigned char*>(signature.data());
    ECDSA_SIG* read = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(signature.size()));
    BIGNUM *order = nullptr, *other = BN_new();
    BN_hex2bn(&order, kOrder.c_str());
    BN_sub(other, order, ECDSA_SIG_get0_s(read));
    ECDSA_SIG_set0(read, BN_dup(ECDSA_SIG_get0_r(read)), other);
    unsigned char* encoded = nullptr;
    const int size = i2d_ECDSA_SIG(read, &encoded);
    std::string out(reinterpret_cast<char*>(encoded), static_cast<std::size_t>(size));
    OPENSSL_free(encoded);
    BN_free(order);
    ECDSA_SIG_free(read);
    return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(bundle_signature)

BOOST_AUTO_TEST_CASE(p256_signs_with_the_lower_s_and_refuses_the_other) {
    const PrivateKey key = make_key(KeyType::p256);
    for (int i = 0; i < 64; i++) { // OpenSSL itself takes either, as chance has it
        const std::string message = std::to_string(i), good = *key.sign(message), other = with_other_s(good);
        BOOST_REQUIRE(key.public_key().verify(message, good));
        BOOST_REQUIRE(!key.public_key().verify(message, other));
        BOOST_REQUIRE(canonical_signature(KeyType::p256, other) == good);
    }
}

BOOST_AUTO_TEST_CASE(p256_takes_the_smallest_and_the_largest_numbers_and_no_others) {
    const std::string last = kOrder.substr(0, 62) + "50"; // n - 1
    for (const auto& [r, s, canonical] : {std::tuple("01", "01", true),
                                          {last.c_str(), kHalf.c_str(), true},
                                          {"01", kAboveHalf.c_str(), false},
                                          {"01", last.c_str(), false},
                                          {"00", "01", false},
                                          {"01", "00", false},
                                          {kOrder.c_str(), "01", false},
                                          {"01", kOrder.c_str(), false}})
        BOOST_TEST(is_canonical_signature(KeyType::p256, der(r, s)) == canonical, r << " " << s);
    BOOST_CHECK(canonical_signature(KeyType::p256, der("01", kAboveHalf)) == der("01", kHalf));
    BOOST_CHECK(!canonical_signature(KeyType::p256, der("01", kOrder)));
}

BOOST_AUTO_TEST_CASE(p256_refuses_every_other_encoding) {
    const std::string good = der("7001", "0102"), content = good.substr(2);
    BOOST_TEST(is_canonical_signature(KeyType::p256, good));
    for (const std::string& wrong : {
             std::string(),
             good + '\0',                                                           // bytes behind it
             good.substr(0, good.size() - 1),                                       // cut off
             std::string("\x30\x81") + static_cast<char>(content.size()) + content, // long form of a short length
             std::string("\x30\x80") + content + std::string(2, '\0'),              // indefinite length (BER)
             sequence(unhex("0203007001") + unhex("02020102")),                     // a zero too many
             sequence(unhex("0202f001") + unhex("02020102")),                       // negative
             sequence(unhex("0200") + unhex("02020102")),                           // no byte at all
             sequence(content + unhex("0500")),                                     // a third value
             sequence(unhex("02027001")),                                           // one value
             std::string("\x31") + good.substr(1),                                  // SET
             unhex("7001") + unhex("0102"),                                         // r || s
             std::string(64, '\x01'),
         })
        BOOST_TEST(!is_canonical_signature(KeyType::p256, wrong), hex(wrong));
}

BOOST_AUTO_TEST_CASE(ed25519_has_64_bytes_and_s_below_the_order) {
    const std::string order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    const std::string below = unhex("ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    const std::string r(32, '\x01');
    BOOST_TEST(is_canonical_signature(KeyType::ed25519, r + below));
    BOOST_TEST(!is_canonical_signature(KeyType::ed25519, r + order));
    BOOST_TEST(!is_canonical_signature(KeyType::ed25519, r + std::string(32, '\xff')));
    BOOST_TEST(!is_canonical_signature(KeyType::ed25519, r + below + "x"));
    BOOST_TEST(!is_canonical_signature(KeyType::ed25519, r));
}

BOOST_AUTO_TEST_CASE(a_bundle_with_such_a_signature_is_refused_by_name) {
    const Fleet fleet;
    for (const auto* key : {&fleet.ed, &fleet.p256}) {
        auto changed = *Envelope::parse(fleet.bundle());
        for (Signature& signature : changed.signatures)
            if (signature.key_id == key->public_key().id())
                signature.bytes = key == &fleet.p256 ? with_other_s(signature.bytes) : signature.bytes + '\0';
        const auto result = verify(changed.dump(), fleet.root, fleet.context);
        BOOST_REQUIRE(!result);
        BOOST_TEST(refusal_name(result.error().refusal) == "signature_not_canonical");
        BOOST_TEST(test::has(result.error().message, "is not in its canonical form"));
        BOOST_TEST(test::has(result.error().message, "1 of 2 valid signatures"));
    }
}

BOOST_AUTO_TEST_SUITE_END()
