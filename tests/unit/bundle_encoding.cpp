// policy/bundle/encoding: RFC 4648 vectors, and one base64 text for each content.
#include "policy/bundle/encoding.hpp"

#include <boost/test/unit_test.hpp>

#include <random>
#include <utility>

using namespace penstock::policy;

BOOST_AUTO_TEST_SUITE(bundle_encoding)

BOOST_AUTO_TEST_CASE(base64_agrees_with_rfc4648) {
    for (const auto& [plain, text] : {std::pair("", ""),
                                      {"f", "Zg=="},
                                      {"fo", "Zm8="},
                                      {"foo", "Zm9v"},
                                      {"foob", "Zm9vYg=="},
                                      {"fooba", "Zm9vYmE="},
                                      {"foobar", "Zm9vYmFy"}}) {
        BOOST_TEST(base64_encode(plain) == text);
        BOOST_REQUIRE(base64_decode(text));
        BOOST_TEST(*base64_decode(text) == plain);
    }
}

BOOST_AUTO_TEST_CASE(base64_refuses_every_other_spelling) {
    for (const char* text : {"Zg", "Zg=", "Zg===", "Z", "=", "====", "Zh==", "Zm9=", "Zg==Zg==", "Z=g=", "Zm9v\n",
                             "Zm 9v", "Zm9-", "Zm9_", "=Zm9", "Zm=v", "\xc3\xa4\xc3\xa4"})
        BOOST_TEST(!base64_decode(text), text);
}

BOOST_AUTO_TEST_CASE(base64_round_trips_any_bytes) {
    std::mt19937 random(1);
    for (std::size_t size = 0; size < 300; size++) {
        std::string bytes(size, '\0');
        for (char& c : bytes)
            c = static_cast<char>(random());
        BOOST_REQUIRE(*base64_decode(base64_encode(bytes)) == bytes);
    }
}

BOOST_AUTO_TEST_CASE(each_text_that_decodes_is_what_encoding_gives) {
    constexpr std::string_view some = "AQgwZ9+/=-\n";
    std::size_t decoded = 0;
    for (const char a : some)
        for (const char b : some)
            for (const char c : some)
                for (const char d : some) {
                    const std::string text{a, b, c, d};
                    if (const auto bytes = base64_decode(text)) {
                        decoded++;
                        BOOST_REQUIRE_MESSAGE(base64_encode(*bytes) == text, text);
                    }
                }
    BOOST_TEST(decoded > 1'000U);
}

BOOST_AUTO_TEST_CASE(hashes_as_fips180) {
    BOOST_TEST(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    BOOST_TEST(hex(std::string("\x00\xff\x1a", 3)) == "00ff1a");
}

BOOST_AUTO_TEST_SUITE_END()
