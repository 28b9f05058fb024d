// The pure parts of penstock-api: whom it lets connect, what it calls a client, what it counts.
#include "agent/api/admission.hpp"
#include "agent/api/client.hpp"
#include "agent/api/metrics.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

using namespace penstock;
using namespace penstock::api;

namespace {

IpAddress address(const std::string& text) { return *IpAddress::parse(text); }

struct Small : Limits {
    Small() {
        connections = 6;
        connections_of_one = 3;
        handshakes = 4;
    }
};

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

// Self-signed, with these subjectAltNames.
Certificate certificate(const char* names) {
    Certificate out(X509_new(), &X509_free);
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509_set_pubkey(out.get(), key);
    if (X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names)) {
        X509_add_ext(out.get(), extension, -1);
        X509_EXTENSION_free(extension);
    }
    X509_sign(out.get(), key, EVP_sha256());
    EVP_PKEY_free(key);
    return out;
}

bool has(const std::string& text, const std::string& line) { return text.find(line + "\n") != std::string::npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(api_listener)

BOOST_AUTO_TEST_CASE(the_oldest_without_a_certificate_makes_room) {
    const Small limits;
    Admission admission(limits);
    const auto first = admission.admit(address("192.0.2.1"));
    const auto second = admission.admit(address("192.0.2.1"));
    admission.verified(*first.id);
    admission.admit(address("192.0.2.1"));
    const auto fourth = admission.admit(address("192.0.2.1"));
    BOOST_TEST(fourth.id.has_value());
    BOOST_TEST(fourth.make_room == std::vector<Admission::Id>{*second.id});
    BOOST_TEST(admission.size() == 3U);
}

BOOST_AUTO_TEST_CASE(one_client_with_certificates_is_refused_beyond_its_share) {
    const Small limits;
    Admission admission(limits);
    for (int i = 0; i < 3; i++)
        admission.verified(*admission.admit(address("2001:db8::" + std::to_string(i + 1))).id);
    const auto refused = admission.admit(address("2001:db8::ffff:1")); // the same /64
    BOOST_TEST(!refused.id.has_value());
    BOOST_TEST(refused.make_room.empty());
    BOOST_TEST(admission.admit(address("2001:db8:0:1::1")).id.has_value());
}

BOOST_AUTO_TEST_CASE(handshakes_never_take_every_place) {
    const Small limits;
    Admission admission(limits);
    std::size_t closed = 0;
    for (int i = 0; i < 1000; i++) {
        const auto verdict =
            admission.admit(address("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250)));
        BOOST_REQUIRE(verdict.id.has_value());
        closed += verdict.make_room.size();
        BOOST_REQUIRE(admission.size() <= limits.handshakes);
    }
    BOOST_TEST(closed == 1000 - limits.handshakes);
}

BOOST_AUTO_TEST_CASE(verified_connections_are_bounded_in_all) {
    const Small limits;
    Admission admission(limits);
    std::vector<Admission::Id> ids;
    for (int i = 0; i < 6; i++) {
        ids.push_back(*admission.admit(address("10.0.0." + std::to_string(i))).id);
        admission.verified(ids.back());
    }
    BOOST_TEST(!admission.admit(address("10.0.1.1")).id.has_value());
    admission.gone(ids[2]);
    BOOST_TEST(admission.admit(address("10.0.1.1")).id.has_value());
}

BOOST_AUTO_TEST_CASE(names_of_a_certificate) {
    const auto one = certificate("DNS:CI.example, email:a@b.example, URI:spiffe://x/y, IP:192.0.2.1, IP:2001:db8::1");
    const auto names = names_of(one.get());
    BOOST_REQUIRE(names.size() == 6U);
    BOOST_TEST(names[0] == "dns:ci.example");
    BOOST_TEST(names[1] == "email:a@b.example");
    BOOST_TEST(names[2] == "uri:spiffe://x/y");
    BOOST_TEST(names[3] == "ip:192.0.2.1");
    BOOST_TEST(names[4] == "ip:2001:db8::1");
    BOOST_TEST(names[5].starts_with("sha256:"));
    BOOST_TEST(names[5].size() == 71U);
}

BOOST_AUTO_TEST_CASE(a_client_is_called_by_what_gave_it_its_role) {
    const auto one = certificate("DNS:a.example, DNS:b.example");
    core::ApiConfig config;
    config.clients = {{"dns:b.example", core::Role::publisher}, {"dns:a.example", core::Role::viewer}};
    const auto client = Client::of(one.get(), "192.0.2.9", config);
    BOOST_CHECK(client.role == core::Role::publisher);
    BOOST_TEST(client.name == "dns:b.example");
    BOOST_TEST(client.asker()["client_address"] == "192.0.2.9");
    config.clients = {{client.fingerprint, core::Role::operating}};
    BOOST_TEST(Client::of(one.get(), "", config).name == client.fingerprint);
    config.clients.clear();
    const auto nobody = Client::of(one.get(), "", config);
    BOOST_CHECK(nobody.role == core::Role::none);
    BOOST_TEST(nobody.name == "dns:a.example");
}

BOOST_AUTO_TEST_CASE(metrics_are_what_prometheus_reads) {
    const nlohmann::json status = {
        {"ok", true},
        {"uptime_s", 7},
        {"devices", 3},
        {"gate", {{"state", "closed"}, {"repairs", 2}, {"witness", {{"state", "watching"}, {"clear", 0}}}}},
        {"tunnels", {{{"name", "a\"b"}, {"state", "up"}}}},
        {"policy", {{"version", 42}, {"expired", false}, {"locked", false}, {"expires", "1970-01-01T00:01:40Z"}}},
        {"drops", {{"no_rule", 5}}}};
    Counters own;
    own.answers[200] = 9;
    const auto text = metrics_text(status, own, 4);
    for (const auto* line : {"penstock_up 1", "penstock_gate_closed 1", "penstock_gate_repairs_total 2",
                             "penstock_witness_latched 0", "penstock_witness_frames_total{kind=\"clear\"} 0",
                             "penstock_tunnel_up{tunnel=\"a\\\"b\"} 1", "penstock_policy_version 42",
                             "penstock_policy_expires_seconds 100", "penstock_drops_total{reason=\"no_rule\"} 5",
                             "penstock_api_connections 4", "penstock_api_answers_total{code=\"200\"} 9"})
        BOOST_TEST(has(text, line), line);
    const auto down = metrics_text(nullptr, own, 0);
    BOOST_TEST(has(down, "penstock_up 0"));
    BOOST_TEST(down.find("penstock_gate_closed") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
