// Whether identities of a certificate are read as libcharon reads them, and what is wrong with its files.
#include "agent/core/credentials.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <fstream>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

using namespace penstock;

namespace {

struct Folder {
    std::filesystem::path path;
    Folder() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        path = mkdtemp(name);
    }
    ~Folder() { std::filesystem::remove_all(path); }
};

// A self-signed certificate with these subjectAltNames that is valid for a day, and its key.
void make_certificate(const std::filesystem::path& folder, const char* names, bool ca) {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("gateway"), -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    for (const auto& [nid, value] :
         {std::pair{NID_subject_alt_name, names}, {NID_basic_constraints, ca ? "CA:TRUE" : "CA:FALSE"}}) {
        X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
        BOOST_REQUIRE(extension != nullptr);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    X509_sign(certificate, key, EVP_sha256());
    FILE* out = fopen((folder / "gateway.pem").c_str(), "w");
    PEM_write_X509(out, certificate);
    fclose(out);
    out = fopen((folder / "gateway.key").c_str(), "w");
    PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
    fclose(out);
    std::filesystem::permissions(folder / "gateway.key", std::filesystem::perms::owner_read);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

core::Config config_of(const std::filesystem::path& folder, const std::string& local_id) {
    core::Config config;
    config.certificate = folder / "gateway.pem";
    config.private_key = folder / "gateway.key";
    config.tunnels = {{.name = "cloud", .local_id = local_id}};
    return config;
}

} // namespace

BOOST_AUTO_TEST_SUITE(core_credentials)

BOOST_AUTO_TEST_CASE(an_identity_must_be_a_name_of_the_certificate) {
    const Folder folder;
    make_certificate(folder.path, "DNS:gw-1.example,IP:192.0.2.7,email:gw@example.org", false);
    for (const char* good : {"gw-1.example", "@gw-1.example", "192.0.2.7", "gw@example.org", "CN=gateway"})
        BOOST_TEST(core::read_credentials(config_of(folder.path, good)).problems.empty(), good);
    for (const char* bad : {"gateway", "gw-2.example", "192.0.2.8", "other@example.org"}) {
        const auto found = core::read_credentials(config_of(folder.path, bad));
        BOOST_REQUIRE_MESSAGE(found.problems.size() == 1U, bad);
        BOOST_TEST(found.problems[0].find("does not name") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(dates_are_judged_by_the_clock_given) {
    const Folder folder;
    make_certificate(folder.path, "DNS:gw-1.example", false);
    const auto found = core::read_credentials(config_of(folder.path, "gw-1.example"));
    BOOST_REQUIRE(found.certificates.size() == 1U);
    BOOST_TEST(found.problems_at(policy::now()).empty());
    const auto late = found.problems_at(policy::now() + std::chrono::hours(10 * 365 * 24));
    BOOST_REQUIRE(late.size() == 1U);
    BOOST_TEST(late[0].find("expired at") != std::string::npos);
    const auto early = found.problems_at(policy::now() - std::chrono::hours(10 * 365 * 24));
    BOOST_REQUIRE(early.size() == 1U);
    BOOST_TEST(early[0].find("is not valid before") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_ca_must_be_one) {
    const Folder folder;
    for (const bool ca : {true, false}) {
        std::filesystem::remove(folder.path / "gateway.key");
        make_certificate(folder.path, "DNS:gw-1.example", ca);
        auto config = config_of(folder.path, "gw-1.example");
        config.ca = {config.certificate};
        BOOST_TEST(core::read_credentials(config).problems.empty() == ca);
    }
}

BOOST_AUTO_TEST_SUITE_END()
