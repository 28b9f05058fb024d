// policy/bundle/root_chain: a root is replaced only by the next one, signed by enough of the old and of the new keys.
#include "policy/bundle/root_chain.hpp"
#include "tests/unit/bundle_fixture.hpp"

using namespace penstock;
using namespace penstock::policy;
using penstock::test::envelope;
using penstock::test::has;
using penstock::test::make_key;
using penstock::test::make_root;

namespace {

using Keys = std::initializer_list<const PrivateKey*>;

// Version 1: a alone. 2: b comes, both must sign. 3: c for a, and another policy key. 4: only another expiry.
struct Chain {
    PrivateKey a = make_key(), b = make_key(KeyType::p256), c = make_key(), policy = make_key(),
               next_policy = make_key();
    Root one = make_root(1, {&a}, 1, policy), two = make_root(2, {&a, &b}, 2, policy),
         three = make_root(3, {&b, &c}, 2, next_policy), four = make_root(4, {&b, &c}, 2, next_policy);
    Time now = *parse_time("2026-11-22T00:00:00Z");

    static std::string sign(const Root& root, Keys keys) { return envelope(kRootPayloadType, root.to_payload(), keys); }
    [[nodiscard]] std::string first() const { return sign(one, {&a}); }
    [[nodiscard]] std::string second() const { return sign(two, {&a, &b}); }
    [[nodiscard]] std::string third() const { return sign(three, {&a, &b, &c}); }
    [[nodiscard]] std::string fourth() const { return sign(four, {&b, &c}); }
    [[nodiscard]] std::string whole() const { return first() + "\n" + second() + "\n" + third() + "\n" + fourth(); }

    [[nodiscard]] tl::expected<CaughtUp, Refused> try_from(const Root& trusted, const std::string& bytes) const {
        const auto chain = RootChain::parse(bytes);
        if (!chain)
            return tl::unexpected(chain.error());
        return catch_up(trusted, *chain, now);
    }
    void refused(const Root& trusted, const std::string& bytes, Refusal expected, std::string_view sentence) const {
        const auto result = try_from(trusted, bytes);
        BOOST_REQUIRE_MESSAGE(!result, "accepted, expected " << refusal_name(expected));
        BOOST_TEST(refusal_name(result.error().refusal) == refusal_name(expected));
        BOOST_CHECK_MESSAGE(has(result.error().message, sentence), result.error().message);
    }
    void accepted(const Root& trusted, const std::string& bytes, std::size_t steps) const {
        const auto result = try_from(trusted, bytes);
        BOOST_REQUIRE_MESSAGE(result, (result ? "" : result.error().message));
        BOOST_TEST(result->root.version == trusted.version + steps);
        BOOST_TEST(result->steps.size() == steps);
    }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(bundle_root_chain, Chain)

BOOST_AUTO_TEST_CASE(catches_up_from_any_root_of_the_chain) {
    const Root* roots[] = {&one, &two, &three, &four};
    for (std::size_t i = 0; i < 4; i++)
        accepted(*roots[i], whole(), 3 - i);
    accepted(one, second(), 1); // without what is known already
    accepted(three, fourth(), 1);
}

BOOST_AUTO_TEST_CASE(each_step_needs_the_old_and_the_new_threshold) {
    refused(one, sign(two, {&a}), Refusal::too_few_signatures, "by the keys of version 2: 1 of 2 valid signatures");
    refused(one, sign(two, {&b}), Refusal::unknown_key, "by the keys of version 1: signed only by keys");
    refused(two, sign(three, {&b, &c}), Refusal::too_few_signatures, "by the keys of version 2: 1 of 2 valid");
    refused(two, sign(three, {&a, &b}), Refusal::too_few_signatures, "by the keys of version 3: 1 of 2 valid");
    refused(two, sign(three, {}), Refusal::too_few_signatures, "0 of 2 valid signatures");
    refused(two, sign(three, {&a, &a, &c, &c}), Refusal::duplicate_key, "1 of 2 valid signatures");
    refused(one, sign(two, {&policy, &b}), Refusal::wrong_role,
            "by the keys of version 1: signed by keys that the root");
    // A link that does not hold breaks the chain, whatever follows.
    refused(one, first() + "\n" + sign(two, {&a}) + "\n" + third() + "\n" + fourth(), Refusal::too_few_signatures,
            "root of acme-berlin version 2: by the keys of version 2");
}

BOOST_AUTO_TEST_CASE(a_root_changed_after_signing_is_refused) {
    auto changed = *Envelope::parse(second());
    changed.payload = test::replaced(changed.payload, "2028-", "2029-");
    refused(one, changed.dump(), Refusal::signature_invalid, "changed after signing");
}

BOOST_AUTO_TEST_CASE(a_step_over_a_version_is_refused) {
    refused(one, third(), Refusal::root_version_skipped, "version 3 does not follow version 1");
    refused(one, second() + "\n" + fourth(), Refusal::root_version_skipped, "version 4 does not follow version 2");
}

BOOST_AUTO_TEST_CASE(an_older_root_is_refused_and_the_same_one_is_nothing_to_do) {
    refused(three, first() + "\n" + second(), Refusal::root_rollback, "version 2 is older than version 3");
    refused(one, second() + "\n" + third() + "\n" + second(), Refusal::root_rollback, "does not come after version 3");
    accepted(three, third(), 0);
}

BOOST_AUTO_TEST_CASE(the_version_in_force_with_another_content_is_refused) {
    Root other = two;
    other.expires = *parse_time("2029-01-01T00:00:00Z");
    refused(two, sign(other, {&a, &b}), Refusal::root_conflict, "version 2 is not the one of that version");
    refused(two, first() + "\n" + sign(other, {&a, &b}) + "\n" + third(), Refusal::root_conflict, "version 2");
}

BOOST_AUTO_TEST_CASE(only_the_last_root_must_not_have_expired) {
    two.expires = *parse_time("2026-01-01T00:00:00Z");
    refused(one, second(), Refusal::root_expired, "version 2 expired at 2026-01-01T00:00:00Z");
    accepted(one, whole(), 3);
    now = four.expires;
    refused(one, whole(), Refusal::root_expired, "version 4 expired at");
    refused(four, fourth(), Refusal::root_expired, "version 4 expired at");
}

BOOST_AUTO_TEST_CASE(another_fleets_root_and_no_root_are_refused) {
    two.fleet = "acme-paris";
    refused(one, second(), Refusal::wrong_fleet, "for the fleet acme-paris, the one in force for acme-berlin");
    refused(one, envelope(kRootPayloadType, "{}", {&a}), Refusal::malformed_root, "the key \"fleet\" is missing");
    refused(one, envelope("application/json", "{}", {&a}), Refusal::wrong_payload_type, "\"application/json\"");
    refused(one, first() + "\n" + envelope("application/json", "{}", {&a}), Refusal::wrong_payload_type, "json");
    refused(one, first() + "\n{", Refusal::not_an_envelope, "root document 2 of the file");
    refused(one, first() + first(), Refusal::trailing_bytes, "bytes after its end");
}

BOOST_AUTO_TEST_CASE(a_chain_cut_off_inside_a_document_is_refused) {
    const std::string bytes = whole();
    const auto second_begins = bytes.find("}\n{") + 2;
    const auto second_ends = bytes.find("}\n{", second_begins) + 1;
    BOOST_REQUIRE(RootChain::parse(std::string_view(bytes).substr(0, second_ends)));
    for (std::size_t size = second_begins + 1; size < second_ends; size++)
        BOOST_REQUIRE(!RootChain::parse(std::string_view(bytes).substr(0, size)));
}

BOOST_AUTO_TEST_CASE(too_many_bytes_are_refused_and_the_limit_itself_loads) {
    const std::string link = first() + "\n";
    std::string bytes;
    while (bytes.size() + 2 * link.size() < kMaxRootChainBytes.value)
        bytes += link;
    bytes += "{" + std::string(kMaxRootChainBytes.value - bytes.size() - first().size(), ' ') + first().substr(1);
    BOOST_TEST(bytes.size() == kMaxRootChainBytes.value);
    BOOST_CHECK(try_from(one, bytes));
    refused(one, bytes + " ", Refusal::oversize, "limit root_chain_bytes (8388608)");
}

BOOST_AUTO_TEST_CASE(a_chain_round_trips_and_is_told_from_a_bundle) {
    const std::string bytes = whole(); // its ECDSA signatures are others each time
    BOOST_CHECK(RootChain::parse(bytes)->dump() == bytes);
    BOOST_TEST(is_root_chain(bytes));
    BOOST_TEST(is_root_chain(first()));
    BOOST_TEST(!is_root_chain(test::Fleet().bundle()));
    BOOST_TEST(!is_root_chain(""));
    BOOST_TEST(!is_root_chain("{}\n{}"));
}

BOOST_AUTO_TEST_CASE(a_root_file_may_hold_the_whole_chain) {
    BOOST_TEST(load_root(whole())->version == 4U);
    BOOST_TEST(load_root(second() + "\n" + third())->version == 3U); // trusted because the operator gave it
    CHECK_REFUSED(load_root(first() + "\n" + third()), "version 3 does not follow version 1");
    CHECK_REFUSED(load_root(sign(two, {&b}) + "\n" + third()), "1 of 2 valid signatures of its own root keys");
}

BOOST_AUTO_TEST_SUITE_END()
