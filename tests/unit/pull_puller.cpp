// What penstock-pull does with what it fetched: over the real control socket, to an agent that answers as a case wants.
#include "agent/pull/puller.hpp"

#include "agent/control/server.hpp"
#include "tests/unit/https_server.hpp"
#include "tests/unit/state_folder.hpp"

#include <boost/test/unit_test.hpp>

using namespace penstock;
using namespace penstock::pull;
using nlohmann::json;

namespace {

// What penstockd would say, on a thread of its own as another process would.
class Agent final : public core::Requests {
public:
    explicit Agent(const std::filesystem::path& socket) : loop_(std::move(*EventLoop::make())) {
        server_ = std::move(*control::Server::listen(*loop_, socket, *this, std::chrono::seconds(60),
                                                     {.door = core::Door::api, .user = getuid(), .group = getgid()}));
        timer_ = std::move(*loop_->every(std::chrono::milliseconds(5), [this] {
            if (stop_)
                loop_->stop();
        }));
        thread_ = std::thread([this] { (void)loop_->run(); });
    }
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    ~Agent() override {
        stop_ = true;
        thread_.join();
    }
    void handle(const json& request, core::Body body, std::shared_ptr<core::Answer> answer) override {
        if (request["op"] == "push") {
            pushed.push_back(std::move(body.bytes));
            last = request;
            answer->send(verdict);
        } else {
            answer->send({{"ok", true}, {"pid", pid}, {"root", {{"version", root}}}});
        }
        answer->finish();
    }

    // Set and read between two looks.
    json verdict = {{"ok", true}, {"message", "version 1 is in force"}};
    json last;
    int pid = 1, root = 1;
    std::vector<std::string> pushed;

private:
    std::unique_ptr<EventLoop> loop_;
    std::unique_ptr<control::Server> server_;
    EventSource timer_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

struct Lab {
    test::StateFolder folder;
    test::TestCa ca{folder.top, "ca"};
    std::unique_ptr<test::HttpsServer> server;
    core::PullSettings settings;
    Limits limits;
    std::unique_ptr<Agent> agent;
    std::unique_ptr<Puller> puller;

    Lab() {
        ca.issue("server", "DNS:localhost");
        server = std::make_unique<test::HttpsServer>(folder.top, "server",
                                                     [](const std::string&) { return test::HttpsServer::Reply{}; });
        settings.bundle = core::BundleConfig{.url = server->url(), .ca = {ca.certificate()}};
        settings.socket = folder.top / "api.sock";
        limits.folder = folder.top;
        agent = std::make_unique<Agent>(settings.socket);
        puller = std::make_unique<Puller>(settings, limits, [] { return false; });
    }
    // From now on; without an ETag the server cannot say that nothing changed.
    void publish(const std::string& body, const std::string& etag = "") const {
        server->handle([=](const std::string& request) -> test::HttpsServer::Reply {
            if (!etag.empty() && request.find("If-None-Match: " + etag) != std::string::npos)
                return {"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"};
            return {"HTTP/1.1 200 OK\r\nConnection: close\r\n" + (etag.empty() ? "" : "ETag: " + etag + "\r\n") +
                    "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body};
        });
    }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace

BOOST_AUTO_TEST_SUITE(pull_puller)

BOOST_AUTO_TEST_CASE(hands_in_what_is_new_once) {
    const Lab lab;
    const std::string large(3U << 20, 'b');
    lab.publish(large, "\"1\"");
    BOOST_TEST(lab.puller->look().said == "version 1 is in force");
    BOOST_REQUIRE(lab.agent->pushed.size() == 1U);
    BOOST_TEST((lab.agent->pushed.back() == large));
    BOOST_TEST(lab.agent->last["asker"]["client"] == "pull");
    BOOST_TEST(lab.agent->last["asker"]["client_address"] == "localhost");
    const auto again = lab.puller->look();
    BOOST_TEST(again.well);
    BOOST_TEST(lab.agent->pushed.size() == 1U, "what has not changed was pushed again");
    lab.publish("newer", "\"2\"");
    lab.puller->look();
    BOOST_REQUIRE(lab.agent->pushed.size() == 2U);
    BOOST_TEST(lab.agent->pushed.back() == "newer");
}

BOOST_AUTO_TEST_CASE(knows_the_same_bytes_without_an_etag) {
    const Lab lab;
    lab.publish("one");
    for (int i = 0; i < 3; i++)
        BOOST_TEST(lab.puller->look().well);
    BOOST_TEST(lab.agent->pushed.size() == 1U);
    BOOST_TEST(lab.server->requests().size() == 3U);
    lab.publish("two");
    lab.puller->look();
    BOOST_TEST(lab.agent->pushed.size() == 2U);
}

BOOST_AUTO_TEST_CASE(what_was_refused_is_not_handed_in_again) {
    for (const auto* etag : {"\"1\"", ""}) {
        const Lab lab;
        lab.agent->verdict = {{"ok", false}, {"refusal", "unknown_key"}, {"error", "signed by strangers"}};
        lab.publish("bad", etag);
        for (int i = 0; i < 3; i++) {
            const auto looked = lab.puller->look();
            BOOST_TEST(looked.well, "a refusal is no reason to hurry");
            BOOST_TEST(looked.said == "refused: signed by strangers");
        }
        BOOST_TEST(lab.agent->pushed.size() == 1U);
        lab.agent->pid = 2; // started anew
        lab.puller->look();
        BOOST_TEST(lab.agent->pushed.size() == 2U);
        lab.agent->root = 2; // other keys are trusted now
        lab.puller->look();
        lab.puller->look();
        BOOST_TEST(lab.agent->pushed.size() == 3U);
    }
}

BOOST_AUTO_TEST_CASE(what_may_come_right_by_itself_is_tried_again) {
    const Lab lab;
    lab.publish("early", "\"1\"");
    lab.agent->verdict = {{"ok", false}, {"refusal", "not_yet_valid"}, {"error", "valid from tomorrow"}};
    BOOST_TEST(lab.puller->look().well);
    lab.agent->verdict = {{"ok", false}, {"refusal", "gateway_unable"}, {"error", "the disk is full"}};
    BOOST_TEST(!lab.puller->look().well);
    lab.agent->verdict = {{"ok", false}, {"error", "the tables are full"}};
    BOOST_TEST(!lab.puller->look().well);
    lab.agent->verdict = {{"ok", true}, {"message", "version 2 is in force"}};
    BOOST_TEST(lab.puller->look().said == "version 2 is in force");
    BOOST_TEST(lab.agent->pushed.size() == 4U);
    lab.puller->look();
    BOOST_TEST(lab.agent->pushed.size() == 4U);
}

BOOST_AUTO_TEST_CASE(troubles_of_the_server_end_nothing) {
    const Lab lab;
    lab.server->handle([](const std::string&) -> test::HttpsServer::Reply {
        return {"HTTP/1.1 503 Busy\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n"};
    });
    const auto looked = lab.puller->look();
    BOOST_TEST(!looked.well);
    BOOST_TEST(has(looked.said, "503"));
    BOOST_TEST((looked.retry_after == std::chrono::seconds(77)));
    BOOST_TEST(lab.agent->pushed.empty());
    lab.publish("one");
    BOOST_TEST(lab.puller->look().well);
    BOOST_TEST(lab.agent->pushed.size() == 1U);
}

BOOST_AUTO_TEST_CASE(fetches_nothing_while_nobody_would_take_it) {
    Lab lab;
    lab.publish("one", "\"1\"");
    lab.agent.reset();
    const auto looked = lab.puller->look();
    BOOST_TEST(!looked.well);
    BOOST_TEST(has(looked.said, "penstockd does not answer"));
    BOOST_TEST(lab.server->requests().empty());
    lab.agent = std::make_unique<Agent>(lab.settings.socket);
    BOOST_TEST(lab.puller->look().well);
    BOOST_TEST(lab.agent->pushed.size() == 1U);
}

BOOST_AUTO_TEST_CASE(an_answer_that_is_none_is_a_failure) {
    const Lab lab;
    lab.publish("one");
    for (const auto& bad :
         {json::object(), json{{"ok", 1}}, json{{"ok", "true"}}, json{{"ok", false}, {"refusal", 7}}}) {
        lab.agent->verdict = bad;
        BOOST_TEST(!lab.puller->look().well, bad.dump());
    }
}

BOOST_AUTO_TEST_SUITE_END()
