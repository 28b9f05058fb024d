// Fetching over HTTPS, from a server that behaves and from servers that do not.
#include "agent/pull/download.hpp"

#include "tests/unit/https_server.hpp"
#include "tests/unit/state_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

using namespace penstock;
using namespace penstock::pull;
using test::HttpsServer;
using Reply = HttpsServer::Reply;

namespace {

const std::string kBundle = "0123456789abcdefghijklmnopqrstuvwxyz";

std::string answer(const std::string& status, const std::string& fields, const std::string& body) {
    return "HTTP/1.1 " + status + "\r\nConnection: close\r\n" + fields +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string etag(const std::string& value) { return "ETag: " + value + "\r\n"; }

// The rest of the body, from there on.
std::string rest(const std::string& body, std::size_t from, const std::string& tag) {
    return answer("206 Partial Content",
                  etag(tag) + "Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(body.size() - 1) +
                      "/" + std::to_string(body.size()) + "\r\n",
                  body.substr(from));
}

// A whole answer of which only so much of the body comes.
Reply cut(const std::string& fields, const std::string& body, std::size_t after) {
    auto bytes = answer("200 OK", fields, body);
    bytes.resize(bytes.size() - body.size() + after);
    return {.bytes = bytes, .cut = true};
}

HttpsServer::Handler always(const std::string& bytes) {
    return [bytes](const std::string&) { return Reply{bytes}; };
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The message of an assertion is made even if it holds.
std::string trouble_of(const Download::Got& got) { return got ? "" : got.error().why; }

struct Lab {
    test::StateFolder folder;
    test::TestCa ca{folder.top, "ca"};
    std::unique_ptr<HttpsServer> server;
    core::BundleConfig config;
    Limits limits;
    bool stop = false;
    std::unique_ptr<Download> download;

    explicit Lab(HttpsServer::Handler handler, const std::filesystem::path& clients = {}) {
        ca.issue("server", "DNS:localhost");
        server = std::make_unique<HttpsServer>(folder.top, "server", std::move(handler), clients);
        config.url = server->url();
        config.ca = {ca.certificate()};
        limits.folder = folder.top;
        limits.slow = std::chrono::seconds(1);
        limits.connect = std::chrono::seconds(5);
        download = std::make_unique<Download>(config, limits, [this] { return stop; });
    }
    Download::Got get(const Validators& known = {}) { return download->get(known); }
    // Why it failed.
    std::string why(const Validators& known = {}) {
        const auto got = get(known);
        return got ? "it did not fail" : trouble_of(got);
    }
    // What came; the failure in its place, in brackets.
    std::string text(const Validators& known = {}) {
        const auto got = get(known);
        if (!got || !*got)
            return got ? "[unchanged]" : "[" + got.error().why + "]";
        std::string out((*got)->size + 1, '\0');
        const auto size = pread((*got)->file.get(), out.data(), out.size(), 0);
        out.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
        return out;
    }
    [[nodiscard]] std::string last_request() const { return server->requests().back(); }
};

} // namespace

BOOST_AUTO_TEST_SUITE(pull_download)

BOOST_AUTO_TEST_CASE(fetches_what_is_there_and_says_little_of_itself) {
    Lab lab(always(answer("200 OK", etag("\"1\"") + "Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT\r\n", kBundle)));
    auto got = lab.get();
    BOOST_REQUIRE_MESSAGE(got, trouble_of(got));
    BOOST_REQUIRE(got->has_value());
    BOOST_TEST((*got)->size == kBundle.size());
    BOOST_TEST((*got)->validators.etag == "\"1\"");
    BOOST_TEST((*got)->validators.last_modified == "Tue, 24 Nov 2026 10:00:00 GMT");
    BOOST_TEST(lab.text() == kBundle);
    const auto request = lab.last_request();
    BOOST_TEST(has(request, "GET /gw.bundle HTTP/1.1\r\n"));
    BOOST_TEST(has(request, "User-Agent: penstock-pull/0."));
    for (const auto* other : {"Cookie", "Accept-Encoding", "Referer", "Authorization", "If-", "Range"})
        BOOST_TEST(!has(request, other), other);
    BOOST_TEST(std::distance(std::filesystem::directory_iterator(lab.folder.top), {}) == 5, "a file was left");
}

BOOST_AUTO_TEST_CASE(asks_only_for_what_changed) {
    Lab lab([](const std::string& request) {
        return Reply{has(request, "If-None-Match: \"2\"") ? "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"
                                                          : answer("200 OK", etag("\"2\""), kBundle)};
    });
    BOOST_TEST(lab.text({"\"2\"", "Tue, 24 Nov 2026 10:00:00 GMT"}) == "[unchanged]");
    BOOST_TEST(has(lab.last_request(), "If-Modified-Since: Tue, 24 Nov 2026 10:00:00 GMT\r\n"));
    BOOST_TEST(lab.text({"\"1\"", ""}) == kBundle);
    BOOST_TEST(!has(lab.last_request(), "If-Modified-Since"));
    lab.server->handle(always("HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"));
    BOOST_TEST(lab.why() == "the server answered with HTTP status 304", "304 to what has no condition");
}

BOOST_AUTO_TEST_CASE(goes_on_where_it_was_cut) {
    Lab lab([](const std::string&) { return cut(etag("\"1\""), kBundle, 10); });
    BOOST_TEST(lab.text().front() == '[');
    lab.server->handle([](const std::string&) {
        auto bytes = rest(kBundle, 10, "\"1\"");
        bytes.resize(bytes.size() - 6);
        return Reply{.bytes = bytes, .cut = true};
    });
    BOOST_TEST(lab.text({"\"0\"", ""}).front() == '[');
    BOOST_TEST(has(lab.last_request(), "Range: bytes=10-\r\n"));
    BOOST_TEST(has(lab.last_request(), "If-Range: \"1\"\r\n"));
    BOOST_TEST(!has(lab.last_request(), "If-None-Match"));
    lab.server->handle(always(answer("503 Busy", "", "later")));
    BOOST_TEST(has(lab.why(), "503"));
    lab.server->handle(always(rest(kBundle, 30, "\"1\"")));
    BOOST_TEST(lab.text() == kBundle);
    BOOST_TEST(has(lab.last_request(), "Range: bytes=30-\r\n"));
    lab.server->handle(always(answer("200 OK", etag("\"1\""), kBundle)));
    BOOST_TEST(lab.text() == kBundle);
    BOOST_TEST(!has(lab.last_request(), "Range"), "what is whole is not continued");
}

BOOST_AUTO_TEST_CASE(begins_anew_if_it_changed_meanwhile) {
    const auto cut_first = [](const std::string&) { return cut(etag("\"1\""), kBundle, 20); };
    Lab lab(cut_first);
    BOOST_TEST(lab.text().front() == '[');
    lab.server->handle(always(answer("200 OK", etag("\"2\""), "new")));
    BOOST_TEST(lab.text() == "new");
    BOOST_TEST(has(lab.last_request(), "If-Range: \"1\"\r\n"));
    // A server that takes no notice of If-Range, or answers with something else than was asked for
    for (const auto& bad :
         {rest(kBundle, 20, "\"2\""), rest(kBundle, 19, "\"1\""), rest(kBundle, 21, "\"1\""),
          answer("206 Partial Content", etag("\"1\""), kBundle.substr(20)),
          answer("206 Partial Content", etag("\"1\"") + "Content-Range: bytes 20-29/36\r\n", "klmnopqrst"),
          answer("206 Partial Content", etag("\"1\"") + "Content-Range: bytes 20-35/*\r\n", kBundle.substr(20))}) {
        lab.server->handle(cut_first);
        BOOST_TEST(lab.text().front() == '[');
        lab.server->handle(always(bad));
        BOOST_TEST(has(lab.why(), "another part"), bad);
        lab.server->handle(always(answer("200 OK", etag("\"2\""), "new")));
        BOOST_TEST(lab.text() == "new");
        BOOST_TEST(!has(lab.last_request(), "Range"));
    }
    lab.server->handle(cut_first);
    BOOST_TEST(lab.text().front() == '[');
    lab.server->handle(always(answer("416 No", "", "")));
    BOOST_TEST(has(lab.why(), "416"));
    lab.server->handle(always(answer("200 OK", "", "new")));
    BOOST_TEST(lab.text() == "new");
    BOOST_TEST(!has(lab.last_request(), "Range"));
}

BOOST_AUTO_TEST_CASE(continues_nothing_that_may_have_changed) {
    for (const auto& fields :
         {std::string(), etag("W/\"1\""), std::string("Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT\r\n")}) {
        Lab lab([&](const std::string&) { return cut(fields, kBundle, 10); });
        BOOST_TEST(lab.text().front() == '[');
        lab.server->handle(always(answer("200 OK", "", kBundle)));
        BOOST_TEST(lab.text() == kBundle);
        BOOST_TEST(!has(lab.last_request(), "Range"), fields);
    }
}

BOOST_AUTO_TEST_CASE(a_part_that_nobody_asked_for_is_refused) {
    Lab lab(always(rest(kBundle, 10, "\"1\"")));
    BOOST_TEST(has(lab.why(), "another part"));
    lab.server->handle([](const std::string&) { // its end may be a cut
        return Reply{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + kBundle};
    });
    BOOST_TEST(has(lab.why(), "says no length"));
    lab.server->handle(always(answer("200 OK", "", "")));
    BOOST_TEST(has(lab.why(), "empty"));
}

BOOST_AUTO_TEST_CASE(the_limit_loads_and_one_byte_more_does_not) {
    const std::string limit(100000, 'x'), chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    Lab lab(always(answer("200 OK", "", limit)));
    lab.limits.bytes = limit.size();
    BOOST_TEST((lab.text() == limit));
    lab.server->handle(always(answer("200 OK", "", limit + "x")));
    BOOST_TEST(has(lab.why(), "more bytes than any bundle may have: 100000"));
    lab.server->handle(always(chunked + "186a0\r\n" + limit + "\r\n0\r\n\r\n"));
    BOOST_TEST((lab.text() == limit));
    lab.server->handle(always(chunked + "186a1\r\n" + limit + "x\r\n0\r\n\r\n"));
    BOOST_TEST(has(lab.why(), "more bytes than any bundle may have: 100000"));
    // By its length alone: nothing of it is waited for
    lab.server->handle([](const std::string&) {
        return Reply{.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", .silent_ms = 300};
    });
    BOOST_TEST(has(lab.why(), "more bytes than any bundle may have"));
    lab.server->handle(always("HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'y') + "\r\nContent-Length: 1\r\n\r\nz"));
    BOOST_TEST(has(lab.why(), "header"));
}

BOOST_AUTO_TEST_CASE(the_limit_holds_for_what_is_continued) {
    Lab lab([](const std::string&) { return cut(etag("\"1\""), kBundle, 30); });
    lab.limits.bytes = kBundle.size();
    BOOST_TEST(lab.text().front() == '[');
    lab.server->handle(always(rest(kBundle + "x", 30, "\"1\"")));
    BOOST_TEST(has(lab.why(), "more bytes than any bundle may have"));
}

BOOST_AUTO_TEST_CASE(says_what_the_server_refuses_and_when_to_come_back) {
    Lab lab(always(answer("404 Not Found", "", "<html>not here</html>")));
    BOOST_TEST(lab.why() == "the server answered with HTTP status 404");
    lab.server->handle(always(answer("500 Oh", "", "")));
    BOOST_TEST(lab.why() == "the server answered with HTTP status 500");
    lab.server->handle(always(answer("503 Busy", "Retry-After: 120\r\n", "later")));
    const auto got = lab.get();
    BOOST_REQUIRE(!got);
    BOOST_TEST((got.error().retry_after == std::chrono::seconds(120)));
    lab.server->handle(always("nonsense\r\n\r\n"));
    BOOST_TEST(!lab.get());
}

BOOST_AUTO_TEST_CASE(follows_three_redirects_and_never_out_of_https) {
    Lab lab([](const std::string& request) {
        const auto count = std::ranges::count(request.substr(0, request.find('\r')), 'r');
        return Reply{count == 3 ? answer("200 OK", etag("\"r\""), kBundle)
                                : answer("302 Found",
                                         etag("\"old\"") + "Location: /" +
                                             std::string(static_cast<std::size_t>(count) + 1, 'r') + "\r\n",
                                         "elsewhere")};
    });
    lab.config.url = lab.server->url("/");
    const auto got = lab.get();
    BOOST_REQUIRE_MESSAGE(got, trouble_of(got));
    BOOST_TEST((*got)->validators.etag == "\"r\"");
    BOOST_TEST(lab.server->requests().size() == 4U);
    lab.server->handle([](const std::string&) { return Reply{answer("302 Found", "Location: /again\r\n", "")}; });
    BOOST_TEST(has(lab.why(), "more than 3 times"));
    BOOST_TEST(lab.server->requests().size() == 8U);
    for (const auto* target : {"http://localhost:", "file:///etc/passwd?", "ftp://localhost:", "gopher://localhost:"}) {
        lab.server->handle(
            always(answer("302 Found", "Location: " + std::string(target) + lab.server->port() + "/\r\n", "")));
        BOOST_TEST(has(lab.why(), "something other than https://"), target);
    }
}

BOOST_AUTO_TEST_CASE(believes_the_ca_of_the_configuration_alone) {
    Lab lab(always(answer("200 OK", "", kBundle)));
    const test::TestCa other(lab.folder.top, "other");
    lab.config.ca = {other.certificate()};
    BOOST_TEST(has(lab.why(), "certificate"));
    lab.config.ca = {}; // the system's
    BOOST_TEST(has(lab.why(), "certificate"));
    lab.config.ca = {other.certificate(), lab.ca.certificate()};
    BOOST_TEST(lab.text() == kBundle);
    lab.config.url = "https://127.0.0.1:" + lab.server->port() + "/";
    BOOST_TEST(has(lab.why(), "127.0.0.1"), "a certificate of another name");
    lab.config.ca = {lab.folder.top / "nothing.pem"};
    BOOST_TEST(has(lab.why(), "nothing.pem"));
    lab.config.ca = {lab.folder.top / "server.key"};
    BOOST_TEST(has(lab.why(), "no X.509 certificate"));
}

BOOST_AUTO_TEST_CASE(speaks_tls_1_2_at_least) {
    Lab lab(always(answer("200 OK", "", kBundle)));
    auto* context = lab.server->tls().native_handle();
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    BOOST_TEST(lab.text() == kBundle);
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_1_VERSION);
    SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
    BOOST_TEST(!lab.get());
}

BOOST_AUTO_TEST_CASE(shows_a_certificate_and_takes_up_a_new_one) {
    const test::StateFolder clients;
    const test::TestCa ca(clients.top, "clients"), other(clients.top, "strangers");
    Lab lab(always(answer("200 OK", "", kBundle)), ca.certificate());
    BOOST_TEST(!lab.get(), "without a certificate");
    other.issue("gateway", "DNS:gw-1");
    lab.config.certificate = clients.top / "gateway.pem";
    lab.config.private_key = clients.top / "gateway.key";
    BOOST_TEST(!lab.get(), "with one of another CA");
    ca.issue("gateway", "DNS:gw-1");
    BOOST_TEST(lab.text() == kBundle);
    lab.config.private_key = clients.top / "clients.key";
    BOOST_TEST(has(lab.why(), "does not belong to"));
    lab.config.private_key = clients.top / "none.key";
    BOOST_REQUIRE(write_file_atomically(lab.config.private_key, "no key\n"));
    BOOST_TEST(has(lab.why(), "no private key"));
    lab.config.private_key = clients.top / "gateway.key";
    std::filesystem::permissions(lab.config.private_key, std::filesystem::perms(0644));
    BOOST_TEST(has(lab.why(), "gateway.key"), "a key that others may read");
}

BOOST_AUTO_TEST_CASE(goes_through_the_proxy_of_the_configuration_alone) {
    Lab lab(always(answer("200 OK", "", kBundle)));
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    BOOST_TEST(lab.text() == kBundle, "a proxy of the environment");
    unsetenv("https_proxy");
    unsetenv("ALL_PROXY");
    const test::ConnectProxy proxy;
    lab.config.proxy = proxy.url();
    const auto got = lab.get();
    BOOST_REQUIRE_MESSAGE(got, trouble_of(got));
    BOOST_TEST(proxy.first_line() == "CONNECT localhost:" + lab.server->port() + " HTTP/1.1");
    BOOST_TEST((*got)->validators.etag == "", "the proxy's own header");
    lab.config.proxy = "http://127.0.0.1:1";
    BOOST_TEST(has(lab.why(), "[[essential]]"));
}

BOOST_AUTO_TEST_CASE(does_not_wait_for_a_slow_server) {
    Lab lab([](const std::string&) {
        auto reply = cut(etag("\"1\""), kBundle, 10);
        reply.silent_ms = 6000;
        return reply;
    });
    const auto began = std::chrono::steady_clock::now();
    BOOST_TEST(lab.why() == "the server is too slow");
    BOOST_TEST((std::chrono::steady_clock::now() - began < std::chrono::seconds(5)));
    lab.server->handle(always(rest(kBundle, 10, "\"1\"")));
    lab.limits.slow = std::chrono::seconds(20);
    BOOST_TEST(lab.text() == kBundle);
    BOOST_TEST(has(lab.last_request(), "Range: bytes=10-"));
}

BOOST_AUTO_TEST_CASE(stops_when_it_shall) {
    Lab lab([](const std::string&) {
        auto reply = cut("", kBundle, 10);
        reply.silent_ms = 3000;
        return reply;
    });
    lab.limits.slow = std::chrono::seconds(60);
    lab.stop = true;
    const auto began = std::chrono::steady_clock::now();
    BOOST_TEST(!lab.get());
    BOOST_TEST((std::chrono::steady_clock::now() - began < std::chrono::seconds(2)));
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_written_is_said) {
    Lab lab(always(answer("200 OK", "", kBundle)));
    lab.limits.folder = lab.folder.top / "nowhere";
    BOOST_TEST(has(lab.why(), "nowhere"));
}

BOOST_AUTO_TEST_SUITE_END()
