// agent/token through `penstock bundle`: keys in tokens of SoftHSM, in a folder of their own.
#include "agent/token/child.hpp"
#include "agent/token/module.hpp"
#include "agent/token/token.hpp"
#include "policy/bundle/signature.hpp"
#include "tests/unit/bundle_desk.hpp"
#include "tests/unit/terminal.hpp"

#include <fcntl.h>
#include <set>
#include <sys/stat.h>

using namespace penstock;
using namespace penstock::policy;
using test::Run;

namespace {

constexpr const char* kSoftHsm = "/usr/lib/softhsm/libsofthsm2.so";
constexpr const char* kFaults = PENSTOCK_TOKEN_FAULTS;

// Two tokens: alice's with a P-256 key, bob's with an Ed25519 key, each the label "sign" and the id 01.
struct Tokens : test::Desk {
    Tokens() {
        std::filesystem::create_directory(folder + "tokens");
        put("softhsm.conf", "directories.tokendir = " + folder + "tokens\nobjectstore.backend = file\n");
        ::setenv("SOFTHSM2_CONF", (folder + "softhsm.conf").c_str(), 1);
        for (const auto& [name, content] : {std::pair("pin", "1234\n"), {"wrong", "4321\n"}})
            put_secret(name, content);
        make_token("alice");
        make_token("bob");
        make_key("alice", "EC:prime256v1", "sign", "01");
        make_key("bob", "EC:edwards25519", "sign", "01");
    }
    ~Tokens() {
        for (const char* name : {"SOFTHSM2_CONF", "PENSTOCK_TOKEN_FAULT", "PENSTOCK_TOKEN_LOGINS"})
            ::unsetenv(name);
    }
    void put_secret(const std::string& name, const std::string& content) const {
        put(name, content);
        BOOST_REQUIRE(::chmod((folder + name).c_str(), 0600) == 0);
    }
    void tool(std::string line) const {
        for (auto at = line.find('@'); at != line.npos; at = line.find('@'))
            line.replace(at, 1, folder);
        BOOST_REQUIRE_MESSAGE(std::system((line + " >" + folder + "log 2>&1").c_str()) == 0,
                              line << ": " << get("log"));
    }
    void pkcs11_tool(const std::string& token, const std::string& line) const {
        tool(std::string("pkcs11-tool --module ") + kSoftHsm + " --token-label " + token + " --login --pin 1234 " +
             line);
    }
    void make_token(const std::string& label) const {
        tool("softhsm2-util --init-token --free --so-pin 5678 --pin 1234 --label " + label);
    }
    void make_key(const std::string& token, const std::string& type, const std::string& label, const std::string& id,
                  const std::string& more = "--usage-sign") const {
        pkcs11_tool(token, "--keypairgen --key-type " + type + " --label " + label + " --id " + id + " " + more);
    }
    static std::string uri(const std::string& path, const std::string& module = kSoftHsm) {
        return "pkcs11:" + path + "?module-path=" + module;
    }
    static std::string sign_line(const std::string& path, const std::string& module = kSoftHsm) {
        return "sign --key " + uri(path, module) + " --passphrase-file @pin @bundle.json";
    }
    // What is refused leaves the file as it was.
    void no_signature(const std::string& line, std::string_view sentence) const {
        const std::string before = get("bundle.json");
        refused(line, sentence);
        BOOST_TEST(get("bundle.json") == before);
    }
    void with_fault(const char* fault, std::string_view sentence) const {
        ::setenv("PENSTOCK_TOKEN_FAULT", fault, 1);
        no_signature(sign_line("token=bob;object=sign", kFaults), sentence);
        ::unsetenv("PENSTOCK_TOKEN_FAULT");
    }
    // Two of three: keys of alice's and bob's tokens, and carol's file.
    void make_fleet() const {
        ok("keygen --out @carol.pem");
        ok("init-root --fleet acme-berlin --root-key " + uri("token=alice;object=sign") +
           " --root-threshold 1 --policy-key " + uri("token=alice;id=%01") + " " + uri("token=bob;object=sign") +
           " @carol.pub.pem --policy-threshold 2 --expires 2028-01-01T00:00:00Z --out @root.json");
        ok("build @policy.yaml --out @bundle.json");
    }
    // As a key file could not: a key that the token keeps from signing.
    void forbid_signing(const std::string& path) const {
        const auto done = token::in_child([&]() -> Result<std::string> {
            const auto named = token::Uri::parse(uri(path));
            const auto modules = token::Modules::load(*named);
            const auto found = token::find_token(*named, *modules);
            CK_FUNCTION_LIST* module = found->module;
            CK_SESSION_HANDLE session = 0;
            CK_OBJECT_HANDLE key = 0;
            CK_ULONG count = 0;
            CK_OBJECT_CLASS type = CKO_PRIVATE_KEY;
            CK_BBOOL off = CK_FALSE;
            CK_BYTE pin[] = {'1', '2', '3', '4'};
            auto wanted = named->object();
            wanted.push_back({CKA_CLASS, &type, sizeof type});
            CK_ATTRIBUTE change{CKA_SIGN, &off, sizeof off};
            CK_RV rv =
                module->C_OpenSession(found->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr, &session);
            rv |= module->C_Login(session, CKU_USER, pin, sizeof pin);
            rv |= module->C_FindObjectsInit(session, wanted.data(), wanted.size());
            rv |= module->C_FindObjects(session, &key, 1, &count);
            rv |= module->C_FindObjectsFinal(session);
            rv |= module->C_SetAttributeValue(session, key, &change, 1);
            return rv == CKR_OK && count == 1 ? Result<std::string>("") : fail("it was not changed");
        });
        BOOST_REQUIRE_MESSAGE(done, test::error_of(done));
    }
};

const std::string kVerify = "verify --root @root.json @bundle.json --now 2026-11-22T00:00:00Z";

} // namespace

BOOST_FIXTURE_TEST_SUITE(token_signing, Tokens)

BOOST_AUTO_TEST_CASE(two_of_three_with_tokens_and_a_file) {
    make_fleet();
    ok("sign --key " + uri("token=alice;object=sign") + " --passphrase-file @pin @root.json");
    const std::string unsigned_bundle = get("bundle.json");
    const std::string alice = sign_line("token=alice;object=sign"), bob = sign_line("token=bob;object=sign"),
                      carol = "sign --key @carol.pem @bundle.json";
    for (const auto& [first, second] : {std::pair(alice, bob), {bob, carol}, {carol, alice}}) {
        put("bundle.json", unsigned_bundle);
        ok(first);
        refused(kVerify, "1 of 2 valid signatures");
        no_signature(first, "carries a signature by this key already");
        ok(second);
        BOOST_TEST(run(kVerify).out.ends_with("signed by 2 keys (needed 2)\n"), run(kVerify).out << run(kVerify).err);
    }
}

BOOST_AUTO_TEST_CASE(openssl_verifies_what_tokens_sign) {
    make_fleet();
    ok("sign --payload @pae @bundle.json");
    for (const std::string name : {"alice", "bob"}) {
        ok(sign_line("token=" + name + ";object=sign"));
        const Signature made = Envelope::parse(get("bundle.json"))->signatures.back();
        put("sig", made.bytes);
        // The key, too, as somebody else reads it from the token.
        pkcs11_tool(name, "--read-object --type pubkey --id 01 --output-file @der");
        tool("openssl pkey -pubin -in @der -inform " + std::string(get("der").starts_with("-----") ? "PEM" : "DER") +
             " -out @pub.pem");
        BOOST_TEST(made.key_id == PublicKey::from_pem(get("pub.pem"))->id());
        BOOST_TEST(openssl("pkeyutl -verify -rawin -pubin -inkey @pub.pem -in @pae -sigfile @sig"));
    }
    put("pae", get("pae") + " ");
    BOOST_TEST(!openssl("pkeyutl -verify -rawin -pubin -inkey @pub.pem -in @pae -sigfile @sig"));
}

// SoftHSM gives the higher s as often as not.
BOOST_AUTO_TEST_CASE(p256_signatures_always_have_the_lower_s) {
    const auto pin = [](const std::string&) { return Result<Secret>(Secret("1234")); };
    std::set<std::string> all;
    for (int i = 0; i < 200; i++) {
        const auto made = token::sign(uri("token=alice"), "message", {{}, {}, pin});
        BOOST_REQUIRE_MESSAGE(made, test::error_of(made));
        BOOST_TEST(is_canonical_signature(KeyType::p256, made->signature));
        BOOST_TEST(made->key.verify("message", made->signature));
        all.insert(made->signature);
    }
    BOOST_TEST(all.size() == 200U);
}

BOOST_AUTO_TEST_CASE(imported_keys_keep_their_ids) {
    make_fleet();
    ok("keygen --out @one.pem");
    ok("keygen --out @two.pem --type p256");
    for (const std::string name : {"one", "two"}) {
        tool("softhsm2-util --import @" + name + ".pem --token alice --pin 1234 --label " + name + " --id " +
             (name == "one" ? "a1" : "a2"));
        ok(sign_line("token=alice;object=" + name));
        BOOST_TEST(Envelope::parse(get("bundle.json"))->signatures.back().key_id ==
                   PublicKey::from_pem(get(name + ".pub.pem"))->id());
    }
}

BOOST_AUTO_TEST_CASE(the_public_half_is_known_by_its_id) {
    make_fleet();
    make_key("alice", "EC:prime256v1", "left", "02");
    pkcs11_tool("alice", "--read-object --type pubkey --id 02 --output-file @half");
    pkcs11_tool("alice", "--delete-object --type pubkey --id 02");
    pkcs11_tool("alice", "--write-object @half --type pubkey --id 02 --label right");
    ok(sign_line("token=alice;object=left"));
}

BOOST_AUTO_TEST_CASE(a_token_s_public_key_stands_for_a_file_s) {
    make_fleet();
    ok("sign --key " + uri("token=alice;object=sign") + " --passphrase-file @pin @root.json");
    make_key("bob", "EC:prime256v1", "next", "02");
    ok("rotate-root --root @root.json --root-key " + uri("token=bob;object=next") +
       " --expires 2029-01-01T00:00:00Z --out @root-2.json");
    for (const char* key : {"token=alice;object=sign", "token=bob;object=next"})
        ok("sign --key " + uri(key) + " --passphrase-file @pin @root-2.json");
    ok("verify --root @root.json @root-2.json --now 2026-11-22T00:00:00Z");
    ok("sign --payload @pae @bundle.json");
    pkcs11_tool("bob", "--sign --mechanism EDDSA --id 01 --input-file @pae --output-file @sig");
    ok("sign --signature @sig --public-key " + uri("token=bob;object=sign") + " @bundle.json");
}

BOOST_AUTO_TEST_CASE(the_modules_of_the_machine_are_looked_through) {
    make_fleet();
    ok("sign --key pkcs11:token=alice;object=sign;type=private --passphrase-file @pin @bundle.json");
}

BOOST_AUTO_TEST_CASE(the_pin_is_asked_for_on_the_terminal) {
    make_fleet();
    const std::string line = "sign --key " + uri("token=alice;object=sign") + " @bundle.json";
    const auto sign = [&] { return run(line).code == cli::kDone; };
    const auto wrong = test::on_terminal(sign, {"4321\n"});
    BOOST_TEST(!wrong.content);
    const auto shown = test::on_terminal(sign, {"1234\n"});
    BOOST_TEST(shown.content);
    BOOST_TEST(shown.text == "PIN of token \"alice\": \r\n");
    ::setenv("PENSTOCK_TOKEN_FAULT", "last_try", 1);
    const auto last = test::on_terminal(
        [&] { return run("sign --key " + uri("token=bob", kFaults) + " @bundle.json").code == cli::kDone; },
        {"1234\n"});
    BOOST_TEST(last.content);
    BOOST_TEST(test::has(last.text, "PIN of token \"bob\", the last try before it locks: "));
}

BOOST_AUTO_TEST_CASE(a_pin_file_is_the_uri_s_or_the_option_s) {
    make_fleet();
    const std::string key = "sign --key " + uri("token=alice") + "&pin-source=";
    no_signature(key + "file:" + folder + "wrong @bundle.json", "the PIN is wrong");
    no_signature(key + "|cat @bundle.json", "pin-source is a file with its whole path");
    no_signature(key + "file:pin @bundle.json", "pin-source is a file with its whole path");
    put("open", "1234\n");
    no_signature(key + "file:" + folder + "open @bundle.json", "others may read");
    const std::string before = get("bundle.json");
    ok(key + "file:" + folder + "wrong --passphrase-file @pin @bundle.json");
    put("bundle.json", before);
    ok(key + "file://" + folder + "pin @bundle.json");
}

BOOST_AUTO_TEST_CASE(a_wrong_pin_is_tried_once) {
    make_fleet();
    ::setenv("PENSTOCK_TOKEN_LOGINS", (folder + "logins").c_str(), 1);
    no_signature("sign --key " + uri("token=alice", kFaults) + " --passphrase-file @wrong @bundle.json",
                 "the PIN is wrong; it was tried once");
    BOOST_TEST(get("logins") == "x");
    for (const auto& [fault, sentence] :
         {std::pair("locked", "the PIN is locked after too many wrong ones; whoever has the token's SO PIN"),
          {"last_try", "none is taken from a file; leave out --passphrase-file"}})
        with_fault(fault, sentence);
    BOOST_TEST(get("logins") == "x"); // not tried at all
    with_fault("locks_now", "the PIN is locked");
    with_fault("expired", "the PIN has expired");
    BOOST_TEST(get("logins") == "xxx");
}

BOOST_AUTO_TEST_CASE(a_pin_in_the_uri_is_refused_and_not_repeated) {
    make_fleet();
    for (const char* part : {"token=alice?pin-value=1234", "token=alice;pin-value=1234",
                             "token=alice?module-path=/nowhere&pin-value=1234"}) {
        const std::string line = "sign --key pkcs11:" + std::string(part) + " @bundle.json";
        no_signature(line, "is shown to everybody in the list of processes");
        BOOST_TEST(!test::has(run(line).err, "1234"));
    }
    refused("init-root --fleet f --root-key pkcs11:token=alice?pin-value=1234 --root-threshold 1 --policy-key "
            "@carol.pub.pem --policy-threshold 1 --expires 2028-01-01T00:00:00Z --out @r.json",
            "leave out pin-value");
}

BOOST_AUTO_TEST_CASE(what_a_uri_does_not_name_well_is_refused) {
    make_fleet();
    make_token("alice"); // a second one
    make_key("bob", "EC:prime256v1", "other", "02");
    make_key("bob", "EC:prime256v1", "other", "03");
    const std::vector<std::pair<std::string, std::string>> refusals = {
        {"token=carol", "no such token; there is \"alice\" (serial "},
        {"token=alice", "2 tokens match: \"alice\" (serial "},
        {"token=bob;object=nothing",
         "the token has no such private key; it has \"other\" (id 02), \"other\" (id 03), \"sign\" (id 01)"},
        {"token=bob;object=other", "several private keys match: \"other\" (id 02), \"other\" (id 03); name one"},
        {"token=bob;object=other;type=cert", "names no key"},
        {"token=bob;colour=red", "has an attribute that is not known"},
        {"token=%zz", "is no PKCS #11 URI"},
    };
    for (const auto& [path, sentence] : refusals)
        no_signature(sign_line(path), "pkcs11:" + path + "?module-path=" + kSoftHsm + ": " + sentence);
    ok(sign_line("token=bob;object=other;id=%02"));
    no_signature("sign --key pkcs11:token=bob?module-name=softhsm2 @bundle.json", "module-name is not taken");
    no_signature(sign_line("token=bob", "/nowhere.so"), "the module cannot be loaded: ");
    refused("init-root --fleet f --root-key " + uri("token=bob;object=nothing") +
                " --root-threshold 1 --policy-key @carol.pub.pem --policy-threshold 1 --expires 2028-01-01T00:00:00Z "
                "--out @r.json",
            "the token has no such public key; it has \"");
    put("softhsm.conf", "directories.tokendir = " + folder + "nothing\n");
    no_signature(sign_line("token=bob"), "the module does not start: ");
    std::filesystem::create_directory(folder + "nothing");
    no_signature(sign_line("token=bob"), "there is no token: plug it in");
}

BOOST_AUTO_TEST_CASE(keys_that_cannot_sign_bundles_are_refused) {
    make_fleet();
    make_key("alice", "EC:secp384r1", "p384", "02");
    make_key("alice", "rsa:2048", "rsa", "03");
    make_key("alice", "EC:prime256v1", "alone", "04");
    pkcs11_tool("alice", "--delete-object --type pubkey --id 04");
    make_key("alice", "EC:prime256v1", "barred", "05");
    forbid_signing("token=alice;object=barred");
    const std::vector<std::pair<std::string, std::string>> refusals = {
        {"p384", "is a key on another curve; what signs is Ed25519 or P-256"},
        {"rsa", "is an RSA key; what signs is Ed25519 or P-256"},
        {"alone", "the public key beside the private one (id 04): the token has no such public key"},
        {"barred", "the token does not let this key sign (CKA_SIGN)"},
    };
    for (const auto& [label, sentence] : refusals)
        no_signature(sign_line("token=alice;object=" + label), sentence);
    no_signature("sign --signature @pin --public-key " + uri("token=alice;object=rsa") + " @bundle.json",
                 "is an RSA key");
    tool(std::string("pkcs11-tool --module ") + kSoftHsm + " --slot-index 2 --init-token --label fresh --so-pin 5678");
    no_signature(sign_line("token=fresh"), "the token has no PIN yet; set one");
}

BOOST_AUTO_TEST_CASE(a_key_may_ask_for_the_pin_each_time_and_a_reader_for_itself) {
    make_fleet();
    make_key("alice", "EC:prime256v1", "always", "02", "--usage-sign --always-auth");
    ::setenv("PENSTOCK_TOKEN_LOGINS", (folder + "logins").c_str(), 1);
    ok(sign_line("token=alice;object=always", kFaults));
    BOOST_TEST(get("logins") == "xx");
    ::setenv("PENSTOCK_TOKEN_FAULT", "pin_pad", 1);
    ok("sign --key " + uri("token=bob", kFaults) + " @bundle.json");
}

// A module is somebody else's code.
BOOST_AUTO_TEST_CASE(a_module_that_fails_or_lies_signs_nothing) {
    make_fleet();
    with_fault("crashes", "the token's module crashed (Segmentation fault); nothing was signed");
    with_fault("exits", "the token's module ended the process; nothing was signed");
    with_fault("wrong_signature", "what the token made is no signature of its key ");
    with_fault("short_signature", "what the token made is no signature of its key ");
    with_fault("no_mechanism", "the token cannot sign with Ed25519, although it holds such a key");
    with_fault("removed", "the token does not sign: ");
    // What it prints is no part of the answer.
    ::setenv("PENSTOCK_TOKEN_FAULT", "talks", 1);
    const Fd stdout_before(::dup(STDOUT_FILENO)), file(::open((folder + "out").c_str(), O_CREAT | O_WRONLY, 0600));
    ::dup2(file.get(), STDOUT_FILENO);
    const Run done = run(sign_line("token=bob", kFaults));
    ::dup2(stdout_before.get(), STDOUT_FILENO);
    BOOST_TEST(done.code == cli::kDone);
    BOOST_TEST(get("out").empty());
}

BOOST_AUTO_TEST_SUITE_END()
