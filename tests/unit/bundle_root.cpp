// policy/bundle/root: the trust anchor vouches for itself and holds together.
#include "tests/unit/bundle_fixture.hpp"

#include <nlohmann/json.hpp>

using namespace penstock;
using namespace penstock::policy;
using penstock::test::envelope;
using penstock::test::error_of;
using penstock::test::Fleet;
using Json = nlohmann::json;

namespace {

struct RootFixture : Fleet {
    Json document = Json::parse(root.to_payload());
    [[nodiscard]] Result<Root> reread() const { return Root::from_payload(document.dump()); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(bundle_root, RootFixture)

BOOST_AUTO_TEST_CASE(round_trips) {
    const auto again = reread();
    BOOST_REQUIRE_MESSAGE(again, error_of(again));
    BOOST_TEST(again->to_payload() == root.to_payload());
    BOOST_TEST(again->policy.threshold == 2U);
}

BOOST_AUTO_TEST_CASE(must_carry_its_own_threshold) {
    const std::string payload = root.to_payload();
    BOOST_CHECK(load_root(envelope(kRootPayloadType, payload, {&root_key})));
    CHECK_REFUSED(load_root(envelope(kRootPayloadType, payload, {})), "0 of 1 valid signatures of its own root keys");
    CHECK_REFUSED(load_root(envelope(kRootPayloadType, payload, {&ed, &p256, &other})), "0 of 1 valid signatures");
    CHECK_REFUSED(load_root(envelope(kPolicyPayloadType, payload, {&root_key})), "this is not a root document");
    auto changed = *Envelope::parse(envelope(kRootPayloadType, payload, {&root_key}));
    document["version"] = 2;
    changed.payload = document.dump();
    CHECK_REFUSED(load_root(changed.dump()), "0 of 1 valid signatures");
}

BOOST_AUTO_TEST_CASE(a_root_key_counts_once) {
    root.root = {{root_key.public_key().id(), ed.public_key().id()}, 2};
    std::ranges::sort(root.root.keys);
    CHECK_REFUSED(load_root(envelope(kRootPayloadType, root.to_payload(), {&root_key, &root_key})),
                  "1 of 2 valid signatures");
    BOOST_CHECK(load_root(envelope(kRootPayloadType, root.to_payload(), {&root_key, &ed})));
}

BOOST_AUTO_TEST_CASE(refuses_thresholds_out_of_reach) {
    for (const auto& [role, threshold] : {std::pair("root", 0), {"root", 2}, {"policy", 0}, {"policy", 3}}) {
        RootFixture fresh;
        fresh.document["roles"][role]["threshold"] = threshold;
        CHECK_REFUSED(fresh.reread(), (std::string("root.roles.") + role + ".threshold: ").c_str(),
                      "is not between 1 and");
    }
}

BOOST_AUTO_TEST_CASE(refuses_a_key_twice_in_a_role) {
    auto& keys = document["roles"]["policy"]["keys"];
    keys[1] = keys[0];
    CHECK_REFUSED(reread(), "root.roles.policy.keys: the same key is there twice");
}

BOOST_AUTO_TEST_CASE(refuses_keys_without_role_and_roles_without_key) {
    document["roles"]["policy"] = {{"keys", {ed.public_key().id()}}, {"threshold", 1}};
    CHECK_REFUSED(reread(), (p256.public_key().id() + ": no role uses this key").c_str());
    document["roles"]["policy"]["keys"] = {other.public_key().id()};
    CHECK_REFUSED(reread(), "root.roles.policy.keys: names a key that is not in \"keys\"");
}

BOOST_AUTO_TEST_CASE(refuses_a_key_under_another_id_or_type) {
    auto keys = document["keys"];
    document["keys"][ed.public_key().id()]["public"] = keys[p256.public_key().id()]["public"];
    CHECK_REFUSED(reread(), ".type: is not the type of the key");
    document["keys"][ed.public_key().id()]["type"] = "p256";
    CHECK_REFUSED(reread(), "the id is not the SHA-256 of the key");
    document["keys"] = keys;
    document["keys"]["short"] = keys[ed.public_key().id()];
    CHECK_REFUSED(reread(), "\"short\" is not a key id");
}

BOOST_AUTO_TEST_CASE(refuses_unknown_missing_and_wrong_fields) {
    const Json good = document;
    document["extra"] = 1;
    CHECK_REFUSED(reread(), "root: unknown key \"extra\"");
    for (const char* name : {"fleet", "version", "expires", "keys", "roles"}) {
        document = good;
        document.erase(name);
        CHECK_REFUSED(reread(), (std::string("root: the key \"") + name + "\" is missing").c_str());
        document[name] = false;
        CHECK_REFUSED(reread(), (std::string("root.") + name + ": expected").c_str());
    }
    document = good;
    document["roles"].erase("policy");
    CHECK_REFUSED(reread(), "root.roles: the key \"policy\" is missing");
    document = good;
    document["version"] = 0;
    CHECK_REFUSED(reread(), "root.version");
    document = good;
    document["fleet"] = "a b";
    CHECK_REFUSED(reread(), "root.fleet");
}

BOOST_AUTO_TEST_SUITE_END()
