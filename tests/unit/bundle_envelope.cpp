// policy/bundle/envelope: DSSE as written down, and nothing else.
#include "policy/bundle/encoding.hpp"
#include "tests/unit/bundle_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::error_of;
using penstock::test::replaced;

namespace {

const std::string& good() {
    static const std::string text = Envelope{"type", "payload", {{std::string(64, 'a'), "signature"}}}.dump();
    return text;
}

std::string edit(std::string_view from, std::string_view to) { return replaced(good(), from, to); }

} // namespace

BOOST_AUTO_TEST_SUITE(bundle_envelope)

BOOST_AUTO_TEST_CASE(pae_is_the_specifications) {
    BOOST_TEST(pae("http://example.com/HelloWorld", "hello world") ==
               "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    BOOST_TEST(pae("", "") == "DSSEv1 0  0 ");
}

BOOST_AUTO_TEST_CASE(round_trips) {
    const auto envelope = Envelope::parse(good());
    BOOST_REQUIRE_MESSAGE(envelope, error_of(envelope));
    BOOST_TEST(envelope->payload_type == "type");
    BOOST_TEST(envelope->payload == "payload");
    BOOST_REQUIRE(envelope->signatures.size() == 1U);
    BOOST_TEST(envelope->signatures[0].bytes == "signature");
    BOOST_TEST(envelope->dump() == good());
}

BOOST_AUTO_TEST_CASE(refuses_unknown_missing_duplicate_and_wrong_fields) {
    CHECK_REFUSED(Envelope::parse(edit("{\"payload\"", "{\"x\":1,\"payload\"")), "envelope: unknown key \"x\"");
    CHECK_REFUSED(Envelope::parse(edit("\"keyid\"", "\"x\":1,\"keyid\"")), "envelope.signatures[0]: unknown key \"x\"");
    CHECK_REFUSED(Envelope::parse(edit(",\"payloadType\":\"type\"", "")),
                  "envelope: the key \"payloadType\" is missing");
    CHECK_REFUSED(Envelope::parse(edit("{\"payload\"", "{\"payloadType\":\"other\",\"payload\"")),
                  "the key \"payloadType\" is there twice");
    CHECK_REFUSED(Envelope::parse(edit("\"type\"", "1")), "envelope.payloadType: expected a text");
    CHECK_REFUSED(Envelope::parse(edit("\"type\"", "\"\"")), "envelope.payloadType: is empty");
    CHECK_REFUSED(Envelope::parse(edit(base64_encode("payload"), "cGF5bG9hZB==")), "envelope.payload: is not base64");
    CHECK_REFUSED(Envelope::parse(edit(base64_encode("signature"), "")), "envelope.signatures[0].sig: is empty");
    CHECK_REFUSED(Envelope::parse(edit(std::string(64, 'a'), std::string(64, 'A'))),
                  "envelope.signatures[0].keyid: is not a key id");
    CHECK_REFUSED(Envelope::parse("[]"), "envelope: expected an object");
    CHECK_REFUSED(Envelope::parse(""), "envelope: ends too early");
}

BOOST_AUTO_TEST_CASE(refuses_too_many_signatures_by_the_limits_name) {
    Envelope envelope{"type", "payload", {}};
    envelope.signatures.assign(64, {std::string(64, 'a'), "s"});
    BOOST_CHECK(Envelope::parse(envelope.dump()));
    envelope.signatures.push_back(envelope.signatures[0]);
    CHECK_REFUSED(Envelope::parse(envelope.dump()), "limit signatures (64)");
}

BOOST_AUTO_TEST_CASE(refuses_more_bytes_than_the_limit_before_reading_them) {
    CHECK_REFUSED(Envelope::parse(std::string(101, '{'), Limit{"envelope_bytes", 100}),
                  "101 bytes are more than the limit envelope_bytes (100)");
}

BOOST_AUTO_TEST_SUITE_END()
