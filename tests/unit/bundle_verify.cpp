// policy/bundle/verify: each refusal under its own name, and nothing but whole, signed, fresh, addressed bundles pass.
#include "policy/bundle/encoding.hpp"
#include "tests/unit/bundle_fixture.hpp"

#include <nlohmann/json.hpp>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::envelope;
using penstock::test::Fleet;
using penstock::test::has;
using penstock::test::kYaml;
using penstock::test::replaced;

namespace {

struct VerifyFixture : Fleet {
    void refused(const std::string& bytes, Refusal expected, std::string_view sentence) const {
        const auto result = verify(bytes, root, context);
        BOOST_REQUIRE_MESSAGE(!result, "accepted, expected " << refusal_name(expected));
        BOOST_TEST(refusal_name(result.error().refusal) == refusal_name(expected));
        BOOST_CHECK_MESSAGE(has(result.error().message, sentence), result.error().message);
    }
    [[nodiscard]] VerifiedPolicy accepted(const std::string& bytes) const {
        auto result = verify(bytes, root, context);
        BOOST_REQUIRE_MESSAGE(result, (result ? "" : result.error().message));
        return std::move(*result);
    }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(bundle_verify, VerifyFixture)

BOOST_AUTO_TEST_CASE(accepts_a_bundle_with_enough_signatures) {
    const VerifiedPolicy verified = accepted(bundle());
    BOOST_TEST(verified.policy.title() == "acme-berlin version 42");
    BOOST_TEST(verified.signers.size() == 2U);
    BOOST_TEST(verified.digest == sha256_hex(Envelope::parse(bundle())->payload));
    BOOST_TEST(!verified.already_in_force);
    BOOST_TEST(!verified.expired);
}

BOOST_AUTO_TEST_CASE(refuses_a_bundle_cut_off_at_every_byte) {
    const std::string whole = bundle();
    for (std::size_t size = 0; size < whole.size(); size++) {
        const auto result = verify(std::string_view(whole).substr(0, size), root, context);
        BOOST_REQUIRE_MESSAGE(!result, "accepted the first " << size << " bytes");
        BOOST_REQUIRE(result.error().refusal == Refusal::not_an_envelope);
    }
}

BOOST_AUTO_TEST_CASE(refuses_a_bundle_with_any_one_byte_changed) {
    const std::string whole = bundle();
    for (std::size_t i = 0; i < whole.size(); i++) {
        std::string changed = whole;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        BOOST_REQUIRE_MESSAGE(!verify(changed, root, context), "accepted a change of byte " << i);
    }
}

BOOST_AUTO_TEST_CASE(refuses_oversize_and_takes_the_limit_itself) {
    std::string bytes = bundle();
    bytes.insert(1, kMaxEnvelopeBytes.value - bytes.size(), ' ');
    BOOST_TEST(bytes.size() == kMaxEnvelopeBytes.value);
    BOOST_TEST(accepted(bytes).policy.version == 42U);
    bytes.insert(1, 1, ' ');
    refused(bytes, Refusal::oversize, "limit envelope_bytes (134217728)");
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_envelope) {
    refused("", Refusal::not_an_envelope, "this is not a bundle");
    refused("fleet: acme-berlin\n", Refusal::not_an_envelope, "this is not a bundle");
    refused(bundle() + "\nx", Refusal::trailing_bytes, "bytes after its end");
}

BOOST_AUTO_TEST_CASE(refuses_another_payload_type_even_if_signed) {
    refused(envelope("application/json", to_payload(test::read_ok()), {&ed, &p256}), Refusal::wrong_payload_type,
            "\"application/json\"");
    refused(envelope(kRootPayloadType, root.to_payload(), {&ed, &p256}), Refusal::wrong_payload_type, "root+json");
    // A type swapped after signing: PAE covers it.
    auto swapped = *Envelope::parse(envelope("application/json", to_payload(test::read_ok()), {&ed, &p256}));
    swapped.payload_type = kPolicyPayloadType;
    refused(swapped.dump(), Refusal::signature_invalid, "changed after signing");
}

BOOST_AUTO_TEST_CASE(refuses_unknown_keys_and_keys_of_another_role) {
    refused(signed_by({&other}), Refusal::unknown_key, "0 of 2 valid signatures");
    refused(signed_by({&other}), Refusal::unknown_key, p256.public_key().id().substr(0, 16));
    refused(signed_by({&root_key}), Refusal::wrong_role, "but not for the role policy; 0 of 2");
    refused(signed_by({&root_key, &other}), Refusal::wrong_role, "0 of 2");
}

BOOST_AUTO_TEST_CASE(refuses_too_few_signatures_and_counts_a_key_once) {
    refused(signed_by({}), Refusal::too_few_signatures, "0 of 2 valid signatures");
    refused(signed_by({&ed}), Refusal::too_few_signatures, "1 of 2 valid signatures");
    refused(signed_by({&ed}), Refusal::too_few_signatures, "must sign: " + p256.public_key().id().substr(0, 16));
    refused(signed_by({&ed, &ed}), Refusal::duplicate_key, "counts once; 1 of 2 valid signatures");
    refused(signed_by({&p256, &p256, &p256}), Refusal::duplicate_key, "1 of 2 valid signatures");
    for (const auto* second : {&p256, &other, &root_key}) { // the same signature under another id
        auto both = *Envelope::parse(signed_by({&ed}));
        both.signatures.push_back({second->public_key().id(), both.signatures[0].bytes});
        refused(both.dump(), Refusal::duplicate_key, "under two ids, and counts once; 1 of 2 valid signatures");
        std::ranges::reverse(both.signatures);
        refused(both.dump(), Refusal::duplicate_key, "1 of 2 valid signatures");
    }
    BOOST_TEST(accepted(signed_by({&ed, &ed, &p256})).signers.size() == 2U);
    refused(signed_by({&ed, &other}), Refusal::too_few_signatures, "1 of 2 valid signatures");
    BOOST_TEST(accepted(signed_by({&other, &p256, &ed})).signers.size() == 2U);
}

BOOST_AUTO_TEST_CASE(refuses_signatures_that_do_not_match) {
    auto tampered = *Envelope::parse(bundle());
    tampered.payload = replaced(tampered.payload, "tcp/443", "tcp/444");
    refused(tampered.dump(), Refusal::signature_invalid, "changed after signing; 0 of 2 valid signatures");
    // A signature under another key's id.
    const PrivateKey stranger = test::make_key(KeyType::p256);
    auto renamed = *Envelope::parse(signed_by({&ed, &stranger}));
    renamed.signatures[1].key_id = p256.public_key().id();
    refused(renamed.dump(), Refusal::signature_invalid, "1 of 2 valid signatures");
}

BOOST_AUTO_TEST_CASE(looks_at_signatures_before_it_parses) {
    refused(envelope(kPolicyPayloadType, "{{{", {&ed}), Refusal::too_few_signatures, "1 of 2");
    refused(envelope(kPolicyPayloadType, "{{{", {&ed, &p256}), Refusal::malformed_policy, "payload: is not JSON");
}

// In the envelope, which anybody can spoil, and in a payload that is properly signed.
BOOST_AUTO_TEST_CASE(refuses_json_that_readers_could_take_differently) {
    const auto of_payload = [&](const std::string& payload) {
        return envelope(kPolicyPayloadType, payload, {&ed, &p256});
    };
    const std::string good = to_payload(test::read_ok());
    refused(replaced(bundle(), "{\"payload\"", "{\"payloadType\":\"x\",\"payload\""), Refusal::duplicate_json_key,
            "the key \"payloadType\" is there twice");
    refused(of_payload(replaced(good, "{\"devices\"", "{\"version\":43,\"devices\"")), Refusal::duplicate_json_key,
            "payload: the key \"version\" is there twice");
    refused(bundle() + "{}", Refusal::trailing_bytes, "bytes after its end");
    refused(of_payload(good + "]"), Refusal::trailing_bytes, "payload: has bytes after its end");
    refused(replaced(bundle(), "application/", "application\xc0\xaf"), Refusal::invalid_utf8, "invalid UTF-8");
    refused(of_payload(replaced(good, "acme-berlin", "acme-\xff")), Refusal::invalid_utf8,
            "payload: holds invalid UTF-8");
    refused(of_payload(replaced(good, "acme-berlin", "acme-\xed\xa0\x80")), Refusal::invalid_utf8, "invalid UTF-8");
    refused(of_payload(replaced(good, "acme-berlin", std::string("acme\0", 5))), Refusal::malformed_policy, "NUL");
}

BOOST_AUTO_TEST_CASE(refuses_too_deep_too_long_and_too_many_by_name) {
    const auto of_payload = [&](const std::string& payload) {
        return envelope(kPolicyPayloadType, payload, {&ed, &p256});
    };
    const std::string good = to_payload(test::read_ok());
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    // The policy's own object is the first level.
    const auto deep = [&](std::size_t depth) {
        return replaced(good, "{\"devices\"", "{\"x\":" + nested(depth) + ",\"devices\"");
    };
    refused(of_payload(deep(kMaxDepth.value - 1)), Refusal::malformed_policy, "unknown key \"x\"");
    refused(of_payload(deep(kMaxDepth.value)), Refusal::over_limit, "limit depth (16)");
    refused(nested(17), Refusal::over_limit, "limit depth (16)");
    const auto named = [&](std::size_t size) { return replaced(good, "acme-berlin", std::string(size, 'a')); };
    refused(of_payload(named(kMaxTextBytes.value)), Refusal::malformed_policy, "a fleet's name is 1 to 64");
    refused(of_payload(named(kMaxTextBytes.value + 1)), Refusal::over_limit, "limit text_bytes (1024)");
    const auto gateways = [](std::size_t count) {
        std::string list = "[";
        for (std::size_t i = 0; i < count; i++)
            list += (i == 0 ? "\"gw-" : ", \"gw-") + std::to_string(i) + "\"";
        return replaced(kYaml, "[\"gw-*\"]", list + "]");
    };
    BOOST_TEST(accepted(bundle(gateways(kMaxGateways.value))).policy.gateways.size() == kMaxGateways.value);
    auto more = nlohmann::json::parse(to_payload(test::read_ok(gateways(kMaxGateways.value))));
    more["gateways"].push_back("gw-more");
    refused(of_payload(more.dump()), Refusal::over_limit, "257 entries are more than the limit gateways (256)");
    auto crowd = *Envelope::parse(bundle());
    const Signature stranger{std::string(64, 'a'), "s"};
    crowd.signatures.resize(kMaxSignatures.value, stranger);
    BOOST_TEST(accepted(crowd.dump()).signers.size() == 2U);
    crowd.signatures.push_back(stranger);
    refused(crowd.dump(), Refusal::over_limit, "limit signatures (64)");
}

BOOST_AUTO_TEST_CASE(refuses_a_signed_policy_with_features_of_later_versions) {
    const std::string payload =
        replaced(to_payload(test::read_ok()), "\"ports\":[\"udp/123\"]", "\"ports\":[\"udp/123\"],\"mud\":\"x\"");
    refused(envelope(kPolicyPayloadType, payload, {&ed, &p256}), Refusal::malformed_policy,
            "services.time.mud is not supported by this version");
}

BOOST_AUTO_TEST_CASE(refuses_another_fleets_and_another_gateways_bundle) {
    refused(bundle(replaced(kYaml, "acme-berlin", "acme-paris")), Refusal::wrong_fleet,
            "for the fleet acme-paris, the root for acme-berlin");
    context.gateway = "edge-7";
    refused(bundle(), Refusal::wrong_gateway, "is for the gateways gw-*, not for \"edge-7\"");
    context.gateway.reset();
    BOOST_TEST(accepted(bundle()).policy.version == 42U);
}

BOOST_AUTO_TEST_CASE(refuses_older_versions) {
    context.last_version = 43;
    refused(bundle(), Refusal::rollback, "acme-berlin version 42 is older than version 43");
    context.last_version = 41;
    BOOST_TEST(accepted(bundle()).policy.version == 42U);
}

BOOST_AUTO_TEST_CASE(the_same_version_must_have_the_same_content) {
    context.last_version = 42;
    context.last_digest = sha256_hex(to_payload(test::read_ok()));
    BOOST_TEST(accepted(bundle()).already_in_force);
    refused(bundle(replaced(kYaml, "tcp/443", "tcp/444")), Refusal::conflicting_version,
            "the last version again with other content");
    context.last_digest.reset();
    refused(bundle(), Refusal::conflicting_version, "the last version again;");
}

BOOST_AUTO_TEST_CASE(refuses_at_the_very_second_of_expiry) {
    context.now = *parse_time("2027-01-01T00:00:00Z");
    refused(bundle(), Refusal::expired, "expired at 2027-01-01T00:00:00Z");
    context.now -= std::chrono::seconds(1);
    BOOST_TEST(!accepted(bundle()).expired);
}

BOOST_AUTO_TEST_CASE(refuses_what_is_not_yet_valid_but_for_the_skew_of_a_clock) {
    const auto later = bundle(replaced(kYaml, "expires:", "not_before: 2026-06-01T12:00:00Z\nexpires:"));
    context.now = *parse_time("2026-06-01T11:54:59Z");
    refused(later, Refusal::not_yet_valid,
            "is valid from 2026-06-01T12:00:00Z on, and here it is 2026-06-01T11:54:59Z");
    context.now += std::chrono::seconds(1);
    const auto in_force = accepted(later);
    BOOST_TEST((*in_force.policy.not_before == *parse_time("2026-06-01T12:00:00Z")));
    context.now = *parse_time("2020-01-01T00:00:00Z");
    refused(later, Refusal::not_yet_valid, "");
    // What is in force stays, whatever the clock says.
    context.keep_expired = true;
    context.last_version = in_force.policy.version;
    context.last_digest = in_force.digest;
    BOOST_TEST(accepted(later).already_in_force);
    const auto newer = replaced(kYaml, "version: 42", "version: 43\nnot_before: 2026-07-01T12:00:00Z");
    refused(bundle(newer), Refusal::not_yet_valid, "");
}

BOOST_AUTO_TEST_CASE(refuses_under_an_expired_root) {
    context.now = root.expires = *parse_time("2026-12-01T00:00:00Z");
    refused(bundle(), Refusal::root_expired, "the root document of acme-berlin expired at 2026-12-01T00:00:00Z");
    context.now -= std::chrono::seconds(1);
    BOOST_TEST(accepted(bundle()).policy.version == 42U);
}

BOOST_AUTO_TEST_CASE(what_is_in_force_may_expire_and_load_again_but_nothing_else) {
    context.now = *parse_time("2029-01-01T00:00:00Z"); // policy and root both
    context.keep_expired = true;
    context.last_version = 42;
    refused(bundle(), Refusal::root_expired, "");
    context.last_digest = sha256_hex(to_payload(test::read_ok()));
    const VerifiedPolicy verified = accepted(bundle());
    BOOST_TEST(verified.expired);
    BOOST_TEST(verified.already_in_force);
    refused(bundle(replaced(kYaml, "version: 42", "version: 43")), Refusal::root_expired, "");
    root.expires = *parse_time("2030-01-01T00:00:00Z");
    refused(bundle(replaced(kYaml, "version: 42", "version: 43")), Refusal::expired, "");
    refused(signed_by({&ed}), Refusal::too_few_signatures, "1 of 2");
    context.keep_expired = false;
    refused(bundle(), Refusal::expired, "");
}

BOOST_AUTO_TEST_CASE(every_refusal_has_a_name_of_its_own) {
    std::vector<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(Refusal::gateway_unable); i++)
        names.push_back(refusal_name(static_cast<Refusal>(i)));
    std::ranges::sort(names);
    BOOST_CHECK(std::ranges::adjacent_find(names) == names.end());
    BOOST_CHECK(std::ranges::find(names, "?") == names.end());
}

BOOST_AUTO_TEST_SUITE_END()
