// agent/cli/bundle_commands: a person's way from keys to a bundle that a gateway takes, with exit codes.
#include "tests/unit/bundle_desk.hpp"

#include <sys/stat.h>

using namespace penstock;
using namespace penstock::policy;
using test::Desk, test::Run;
using Json = nlohmann::json;

namespace {

const std::string kVerify = "verify --root @root.json @bundle.json --now 2026-11-22T00:00:00Z";

} // namespace

BOOST_FIXTURE_TEST_SUITE(bundle_commands, Desk)

BOOST_AUTO_TEST_CASE(from_keys_to_a_valid_bundle) {
    make_fleet();
    refused(kVerify, "the root document carries 0 of 1 valid signatures");
    ok("sign --key @root.pem @root.json");
    refused(kVerify, "0 of 2 valid signatures");
    ok("sign --key @one.pem @bundle.json");
    refused(kVerify, "1 of 2 valid signatures");
    ok("sign --key @two.pem @bundle.json");
    const Run valid = run(kVerify + " --gateway gw-1 --last-version 41");
    BOOST_TEST(valid.code == 0);
    BOOST_TEST(valid.out.starts_with("valid: acme-berlin version 42, expires 2027-01-01T00:00:00Z, signed by 2 keys"));
    refused(kVerify + " --gateway edge", "not for \"edge\"");
    refused(kVerify + " --last-version 43", "is older than version 43");
    refused(kVerify + " --last-version 42", "the last version again");
    refused("verify --root @root.json @bundle.json --now 2027-01-01T00:00:00Z", "expired at");
}

BOOST_AUTO_TEST_CASE(keygen_writes_a_secret_and_never_overwrites) {
    ok("keygen --out @k.pem");
    struct stat info{};
    BOOST_REQUIRE(::stat((folder + "k.pem").c_str(), &info) == 0);
    BOOST_TEST((info.st_mode & 0777) == 0600U);
    const std::string before = get("k.pem");
    refused("keygen --out @k.pem", "exists already; it is never overwritten");
    std::filesystem::remove(folder + "k.pub.pem");
    refused("keygen --out @k.pem", "k.pem exists already");
    BOOST_TEST(get("k.pem") == before);
    BOOST_TEST(!std::filesystem::exists(folder + "k.pub.pem"));
}

BOOST_AUTO_TEST_CASE(keygen_prints_the_id_that_the_public_key_has) {
    const Run made = run("keygen --json --out @k.pem --type p256");
    BOOST_TEST(made.json()["ok"] == true);
    BOOST_TEST(made.json()["key_id"] == PublicKey::from_pem(get("k.pub.pem"))->id());
}

BOOST_AUTO_TEST_CASE(sign_refuses_the_same_key_twice_and_leaves_the_file) {
    make_fleet();
    ok("sign --key @one.pem @bundle.json");
    const std::string before = get("bundle.json");
    refused("sign --key @one.pem @bundle.json", "carries a signature by this key already");
    BOOST_TEST(get("bundle.json") == before);
    BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder), {}) == 9); // no temporary file stays
}

BOOST_AUTO_TEST_CASE(sign_refuses_what_no_gateway_would_read) {
    make_fleet();
    put("odd.json", Envelope{"application/json", "{}", {}}.dump());
    refused("sign --key @one.pem @odd.json", "neither a policy nor a root");
    put("odd.json", Envelope{"application/vnd.penstock.policy+json", "{}", {}}.dump());
    refused("sign --key @one.pem @odd.json", "payload: the key \"fleet\" is missing");
    refused("sign --key @one.pem @policy.yaml", "make a bundle of it first");
    refused("sign --key @one.pub.pem @bundle.json", "others can read");
}

BOOST_AUTO_TEST_CASE(build_says_the_line_and_writes_nothing_on_error) {
    put("policy.yaml", test::replaced(test::kYaml, "udp/123]", "udp/123], require: tls"));
    refused("build @policy.yaml --out @bundle.json",
            "policy.yaml:7: services.time: require: tls is for tcp only, not udp/123");
    BOOST_TEST(!std::filesystem::exists(folder + "bundle.json"));
}

BOOST_AUTO_TEST_CASE(init_root_refuses_what_cannot_work) {
    make_fleet();
    const std::string line =
        "init-root --fleet f --root-key @root.pub.pem --policy-key @one.pub.pem --expires 2028-01-01T00:00:00Z ";
    refused(line + "--root-threshold 2 --policy-threshold 1 --out @r.json",
            "root.roles.root.threshold: 2 is not between 1 and the 1 keys");
    refused(line + "--root-threshold 1 --policy-threshold 0 --out @r.json", "root.roles.policy.threshold");
    refused(line + "--policy-key @one.pub.pem --root-threshold 1 --policy-threshold 2 --out @r.json",
            "given twice for the role policy");
    refused(line + "--root-threshold 1 --policy-threshold 1 --out @root.json", "exists already");
    BOOST_TEST(!std::filesystem::exists(folder + "r.json"));
}

BOOST_AUTO_TEST_CASE(inspect_says_in_words_what_is_inside) {
    make_fleet();
    ok("sign --key @one.pem @bundle.json");
    const std::string words = run("inspect @bundle.json").out;
    for (const char* part : {"policy acme-berlin version 42, expires 2027-01-01T00:00:00Z", "gateways gw-*",
                             "2 services, 2 groups, 2 devices", "time (policy.yaml:7): to 192.0.2.123/32 udp/123",
                             "1 signature, not verified here"})
        BOOST_CHECK_MESSAGE(test::has(words, part), part << " in: " << words);
    const Json json = run("inspect @bundle.json --json").json();
    BOOST_TEST(json["version"] == 42);
    BOOST_TEST(json["signatures"].size() == 1U);
    BOOST_TEST(json["policy"]["services"]["time"]["ports"][0] == "udp/123");
    BOOST_TEST(test::has(run("inspect @root.json").out, "root of acme-berlin version 1"));
    BOOST_TEST(run("inspect @root.json --json").json()["policy"]["threshold"] == 2);
}

BOOST_AUTO_TEST_CASE(refusals_in_json_have_a_reason) {
    make_fleet();
    ok("sign --key @root.pem @root.json");
    ok("sign --key @one.pem @bundle.json");
    const Run done = run(kVerify + " --json");
    BOOST_TEST(done.code == cli::kRefused);
    BOOST_TEST(done.json()["ok"] == false);
    BOOST_TEST(done.json()["reason"] == "too_few_signatures");
    BOOST_TEST(done.err.empty());
}

BOOST_AUTO_TEST_CASE(rotate_root_replaces_a_key_and_raises_the_threshold) {
    make_fleet();
    ok("sign --key @root.pem @root.json");
    ok("keygen --out @new.pem");
    ok("keygen --out @newer.pem --type p256");
    ok("rotate-root --root @root.json --root-key @new.pub.pem @newer.pub.pem --root-threshold 2 --expires "
       "2029-01-01T00:00:00Z --out @root-2.json");
    const std::string check = "verify --root @root.json @root-2.json --now 2026-11-22T00:00:00Z";
    refused(check, "by the keys of version 1: 0 of 1 valid signatures");
    ok("sign --key @new.pem @root-2.json");
    ok("sign --key @newer.pem @root-2.json");
    refused(check, "by the keys of version 1: signed only by keys that the root does not list for the role root");
    ok("sign --key @root.pem @root-2.json");
    const Run valid = run(check);
    BOOST_TEST(valid.out ==
               "valid: root of acme-berlin version 2, expires 2029-01-01T00:00:00Z, 1 step from version 1\n");
    BOOST_TEST(run("inspect @root-2.json --json").json()["version"] == 2);
    BOOST_TEST(run("inspect @root-2.json --json").json()["root"]["threshold"] == 2);
    // The file holds the old one too: it is a trust anchor as it is, and the next rotation goes on from there.
    ok("sign --key @one.pem @bundle.json");
    ok("sign --key @two.pem @bundle.json");
    ok("verify --root @root-2.json @bundle.json --now 2026-11-22T00:00:00Z");
    ok("rotate-root --root @root-2.json --policy-key @one.pub.pem --policy-threshold 1 --expires 2029-06-01T00:00:00Z "
       "--out @root-3.json");
    ok("sign --key @new.pem @root-3.json");
    refused("verify --root @root.json @root-3.json", "version 3: by the keys of version 2: 1 of 2 valid signatures");
    ok("sign --key @newer.pem @root-3.json");
    BOOST_TEST(run("verify --root @root.json @root-3.json --now 2026-11-22T00:00:00Z --json").json()["steps"] == 2);
    const Json json = run("inspect @root-3.json --json").json();
    BOOST_TEST(json["policy"]["keys"].size() == 1U);
    BOOST_TEST(json["root"]["keys"].size() == 2U);
    const Run back = run("verify --root @root-3.json @root-2.json --now 2026-11-22T00:00:00Z --json");
    BOOST_TEST(back.json()["reason"] == "root_rollback");
}

BOOST_AUTO_TEST_CASE(rotate_root_refuses_what_cannot_work) {
    make_fleet();
    const std::string line = "rotate-root --root @root.json --expires 2029-01-01T00:00:00Z ";
    refused(line + "--out @root-2.json", "0 of 1 valid signatures of its own root keys");
    ok("sign --key @root.pem @root.json");
    refused(line + "--root-threshold 2 --out @root-2.json", "root.roles.root.threshold: 2 is not between 1 and the 1");
    refused(line + "--out @root.json", "exists already");
    BOOST_TEST(!std::filesystem::exists(folder + "root-2.json"));
}

BOOST_AUTO_TEST_CASE(an_encrypted_key_signs_with_its_passphrase) {
    make_fleet();
    put("pass", "correct horse\n");
    put("wrong", "battery staple\n");
    for (const char* file : {"pass", "wrong"})
        BOOST_REQUIRE(::chmod((folder + file).c_str(), 0600) == 0);
    BOOST_TEST(test::has(run("keygen --out @locked.pem --passphrase-file @pass").out, "(secret, encrypted)"));
    BOOST_TEST(get("locked.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    refused("sign --key @locked.pem --passphrase-file @wrong @bundle.json", "the passphrase is wrong");
    ok("sign --key @locked.pem --passphrase-file @pass @bundle.json");
    // OpenSSL reads what we wrote.
    BOOST_TEST(openssl("pkey -in @locked.pem -passin file:@pass -pubout -out @again.pem"));
    BOOST_TEST(get("again.pem") == get("locked.pub.pem"));
    // And we read what it wrote.
    BOOST_TEST(openssl("pkcs8 -topk8 -in @one.pem -out @one-locked.pem -passout file:@pass"));
    BOOST_REQUIRE(::chmod((folder + "one-locked.pem").c_str(), 0600) == 0);
    ok("sign --key @one-locked.pem --passphrase-file @pass @bundle.json");
}

BOOST_AUTO_TEST_CASE(openssl_verifies_our_signatures_over_the_pae) {
    make_fleet();
    ok("sign --payload @pae @bundle.json");
    BOOST_TEST(get("pae").starts_with("DSSEv1 36 application/vnd.penstock.policy+json "));
    refused("sign --payload @pae @bundle.json", "exists already");
    for (const std::string name : {"one", "two"}) {
        ok("sign --key @" + name + ".pem @bundle.json");
        put("sig", Envelope::parse(get("bundle.json"))->signatures.back().bytes);
        BOOST_TEST(openssl("pkeyutl -verify -rawin -pubin -inkey @" + name + ".pub.pem -in @pae -sigfile @sig"));
    }
    put("pae", get("pae") + " ");
    BOOST_TEST(!openssl("pkeyutl -verify -rawin -pubin -inkey @two.pub.pem -in @pae -sigfile @sig"));
}

// Openssl gives a P-256 signature the higher s as often as not.
BOOST_AUTO_TEST_CASE(signatures_made_by_openssl_are_taken_in) {
    make_fleet();
    ok("sign --key @root.pem @root.json");
    const std::string unsigned_bundle = get("bundle.json");
    for (int i = 0; i < 8; i++) {
        put("bundle.json", unsigned_bundle);
        std::filesystem::remove(folder + "pae");
        ok("sign --payload @pae @bundle.json");
        for (const std::string name : {"one", "two"}) {
            BOOST_TEST(openssl("pkeyutl -sign -rawin -inkey @" + name + ".pem -in @pae -out @" + name + ".sig"));
            ok("sign --signature @" + name + ".sig --public-key @" + name + ".pub.pem @bundle.json");
        }
        BOOST_TEST(run(kVerify).code == 0);
    }
    const std::string before = get("bundle.json");
    refused("sign --signature @one.sig --public-key @one.pub.pem @bundle.json",
            "carries a signature by this key already");
    refused("sign --signature @one.sig --public-key @root.pub.pem @bundle.json", "is not the signature of");
    refused("sign --signature @one.sig --public-key @two.pub.pem @bundle.json",
            "is not a signature by a key of the type p256");
    refused("sign --signature @bundle.json --public-key @one.pub.pem @bundle.json",
            "is larger than the limit of 256 bytes");
    BOOST_TEST(get("bundle.json") == before);
}

BOOST_AUTO_TEST_CASE(wrong_usage_is_status_2) {
    for (const char* line :
         {"", "frobnicate", "keygen", "keygen --out @k.pem --type rsa", "sign @bundle.json", "build --out @b.json",
          "sign --key @k.pem --payload @p @bundle.json", "sign --signature @s @bundle.json",
          "sign --public-key @k --key @k.pem @bundle.json", "sign --payload @p --passphrase-file @f @bundle.json",
          "verify --root @root.json @bundle.json --now yesterday", "verify --root @r @b --last-version x", "inspect",
          "inspect @a @b"})
        BOOST_TEST(run(line).code == cli::kWrongUsage, line);
    BOOST_TEST(run("--help").code == 0);
    BOOST_TEST(!std::filesystem::exists(folder + "k.pem"));
}

BOOST_AUTO_TEST_CASE(build_takes_a_folder_warns_and_sums_up) {
    std::filesystem::create_directory(folder + "fleet");
    const auto at = test::kYaml.find("devices:");
    put("fleet/base.yaml", test::replaced(test::kYaml.substr(0, at), "allow: [telemetry, time]", "allow: [time]"));
    put("fleet/devices.yml", test::kYaml.substr(at));
    put("fleet/notes.txt", "not YAML");
    const Run built = run("build @fleet --out @bundle.json");
    BOOST_REQUIRE_MESSAGE(built.code == 0, built.err);
    BOOST_TEST(test::has(built.out, "warning: base.yaml:6: services.telemetry: no group allows or denies it\n"));
    BOOST_TEST(test::has(built.out,
                         "acme-berlin version 42, not signed yet\n2 devices in 2 groups, 2 services allowed 2 "
                         "times; for the gateways gw-*, until 2027-01-01T00:00:00Z"));
    BOOST_TEST(run("build @fleet --out @bundle.json --json").json()["warnings"].size() == 1U);
    std::filesystem::create_directory(folder + "empty");
    refused("build @empty --out @bundle.json", "no file in this folder ends in .yaml or .yml");
}

BOOST_AUTO_TEST_CASE(a_policy_that_is_no_bundle_yet_is_recognised) {
    refused("inspect @policy.yaml", "make a bundle of it first: penstock bundle build");
    refused("diff @policy.yaml @policy.yaml", "make a bundle of it first: penstock bundle build");
}

BOOST_AUTO_TEST_CASE(diff_says_who_gains_and_loses_what) {
    put("new.yaml", test::replaced(test::replaced(test::kYaml, "udp/123]", "udp/124]"), "version: 42", "version: 43"));
    ok("build @policy.yaml --out @old.json");
    ok("build @new.yaml --out @new.json");
    const Run done = run("diff @old.json @new.json");
    BOOST_TEST(done.out == "version 42 becomes 43\n"
                           "camera-1, thermostat-12:\n"
                           "  + may reach 192.0.2.123/32 at udp/124\n"
                           "  - may no longer reach 192.0.2.123/32 at udp/123\n");
    const Json json = run("diff @old.json @new.json --json").json();
    BOOST_TEST(json["changes"][0]["gains"][0] == "may reach 192.0.2.123/32 at udp/124");
    BOOST_TEST(json["changes"][0]["devices"].size() == 2U);
    BOOST_TEST(run("diff @old.json @old.json").out == "no difference\n");
    refused("diff @old.json @policy.yaml", "policy.yaml");
}

BOOST_AUTO_TEST_SUITE_END()
