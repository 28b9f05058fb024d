// What penstock-pull takes from the header of an HTTP answer.
#include "agent/pull/header.hpp"

#include <boost/test/unit_test.hpp>

#include <initializer_list>

using namespace penstock::pull;

namespace {

Header header(std::initializer_list<const char*> lines) {
    Header out;
    for (const auto* line : lines)
        out.take(std::string(line) + "\r\n");
    return out;
}

bool continues(const std::string& range, std::uint64_t first) {
    Header out;
    out.take("Content-Range: " + range + "\r\n");
    return out.continues_at(first);
}

} // namespace

BOOST_AUTO_TEST_SUITE(pull_header)

BOOST_AUTO_TEST_CASE(takes_what_names_the_state_of_a_resource) {
    const auto one = header({"HTTP/1.1 200 OK", "eTaG:\"a\" ", "Last-Modified:  Tue, 24 Nov 2026 10:00:00 GMT",
                             "CONTENT-LENGTH: 5", "X-ETag: \"b\"", "no field"});
    BOOST_TEST(one.status == 200);
    BOOST_TEST(one.old_http);
    BOOST_TEST(one.delimited);
    BOOST_TEST(one.validators.etag == "\"a\"");
    BOOST_TEST(one.validators.last_modified == "Tue, 24 Nov 2026 10:00:00 GMT");
    BOOST_TEST(one.validators.strong());
    BOOST_TEST(!header({"HTTP/2 200", "etag: W/\"a\""}).validators.strong());
    BOOST_TEST(!header({"HTTP/2 200"}).old_http);
    BOOST_TEST(!header({"HTTP/2 200"}).validators.strong());
}

BOOST_AUTO_TEST_CASE(forgets_the_answer_before) {
    const auto one = header({"HTTP/1.1 302 Found", "ETag: \"a\"", "Content-Length: 3", "", "HTTP/1.1 200 OK"});
    BOOST_TEST(one.status == 200);
    BOOST_TEST(one.validators.etag == "");
    BOOST_TEST(!one.delimited);
}

BOOST_AUTO_TEST_CASE(takes_nothing_that_could_not_be_sent_back) {
    for (const std::string& bad : {std::string("\"a\rX: y\""), std::string("\"\0\"", 3), std::string("\"\x7f\""),
                                   "\"" + std::string(1024, 'x') + "\""}) {
        Header out;
        out.take("ETag: " + bad + "\r\n");
        BOOST_TEST(out.validators.etag == "");
    }
    Header out;
    out.take("ETag: \"" + std::string(1022, 'x') + "\"\r\n");
    BOOST_TEST(out.validators.etag.size() == 1024U);
    for (const auto* odd : {"", "\r\n", ":", "HTTP/", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 abc"})
        out.take(odd);
    BOOST_TEST(out.status == 0);
}

BOOST_AUTO_TEST_CASE(knows_the_rest_of_a_whole) {
    BOOST_TEST(continues("bytes 10-35/36", 10));
    BOOST_TEST(continues("bytes 35-35/36", 35));
    for (const auto* bad : {"bytes 10-34/36", "bytes 10-35/37", "bytes 9-35/36", "bytes 10-35/*", "bytes */36",
                            "10-35/36", "bytes 10-35", "bytes 10-", "", "bytes 10-9/10",
                            "bytes 10-18446744073709551615/0", "bytes 10-99999999999999999999/5", "bytes 10-35/36x"})
        BOOST_TEST(!continues(bad, 10), bad);
}

BOOST_AUTO_TEST_SUITE_END()
