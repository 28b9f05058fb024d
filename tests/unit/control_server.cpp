// The control socket against clients that mean harm or are slow.
#include "agent/control/server.hpp"
#include "policy/limits.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

using namespace penstock;
using nlohmann::json;

namespace {

// Answers at once with what it got.
struct Echo final : core::Requests {
    int handled = 0;
    void handle(const json& request, core::Body body, std::shared_ptr<core::Answer> answer) override {
        handled++;
        answer->send({{"ok", true}, {"request", request}, {"bytes", body.bytes.size()}});
        answer->finish();
    }
};

struct Lab {
    std::filesystem::path folder;
    std::unique_ptr<EventLoop> loop = std::move(*EventLoop::make());
    Echo echo;
    std::unique_ptr<control::Server> server;
    Fd client;

    Lab() {
        char name[] = "/tmp/penstock-unit.XXXXXX";
        folder = mkdtemp(name);
        serve(echo);
    }
    // Another one who answers, and a client of his.
    void serve(core::Requests& requests, EventLoop::Millis idle = std::chrono::seconds(60)) {
        server.reset();
        server = std::move(*control::Server::listen(*loop, folder / "control.sock", requests, idle));
        client = another();
    }
    [[nodiscard]] Fd another() const {
        Fd out(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strcpy(address.sun_path, (folder / "control.sock").c_str());
        BOOST_REQUIRE(connect(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        return out;
    }
    ~Lab() {
        server.reset();
        std::filesystem::remove_all(folder);
    }

    // Sends all of it while the loop turns; what came back until the other end was quiet or closed.
    std::string talk(std::string_view text) const {
        std::string got;
        int quiet = 0;
        auto timer = *loop->every(std::chrono::milliseconds(5), [&] {
            bool moved = false;
            char buffer[65536];
            if (!text.empty())
                if (const auto n = send(client.get(), text.data(), text.size(), MSG_NOSIGNAL); n > 0) {
                    text.remove_prefix(static_cast<std::size_t>(n));
                    moved = true;
                }
            ssize_t n = 0;
            while ((n = recv(client.get(), buffer, sizeof buffer, 0)) > 0) {
                got.append(buffer, static_cast<std::size_t>(n));
                moved = true;
            }
            quiet = moved ? 0 : quiet + 1;
            if (n == 0 || quiet > 10)
                loop->stop();
        });
        BOOST_REQUIRE(loop->run().has_value());
        return got;
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(control_server)

BOOST_AUTO_TEST_CASE(answers_a_request_with_the_bytes_it_announced) {
    const Lab lab;
    const auto got = lab.talk("{\"op\":\"push\",\"size\":5}\nhello{\"op\":\"status\"}\n");
    BOOST_TEST(got.find("\"bytes\":5") != std::string::npos);
    BOOST_TEST(got.find("\"bytes\":0") != std::string::npos);
    BOOST_TEST(lab.echo.handled == 2);
}

BOOST_AUTO_TEST_CASE(twenty_thousand_requests_at_once_do_not_grow_the_stack) {
    const Lab lab;
    std::string many;
    for (int i = 0; i < 20000; i++)
        many += "{}\n";
    lab.talk(many);
    BOOST_TEST(lab.echo.handled == 20000);
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_request) {
    for (const char* bad : {"hello\n", "[1]\n", "{\"op\":\n", "\"op\"\n"}) {
        const Lab lab;
        BOOST_TEST(lab.talk(bad).find("one JSON object on one line") != std::string::npos, bad);
        BOOST_TEST(lab.echo.handled == 0);
    }
}

BOOST_AUTO_TEST_CASE(refuses_too_much_before_it_comes) {
    {
        const Lab lab;
        BOOST_TEST(lab.talk("{\"op\":\"push\",\"size\":134217729}\n").find("envelope_bytes") != std::string::npos);
    }
    {
        const Lab lab;
        BOOST_TEST(lab.talk(std::string(200000, 'x')).find("at most 64 KiB") != std::string::npos);
    }
}

// Announced and sent all the same: what is refused costs no memory, and nobody reads it.
BOOST_AUTO_TEST_CASE(a_refused_gigabyte_costs_less_than_a_megabyte) {
    constexpr std::size_t kUpload = 1'000'000'000;
    const Lab lab;
    const auto kib = [](const char* field) {
        std::ifstream status("/proc/self/status");
        long value = 0;
        for (std::string word; status >> word;)
            if (word == field)
                status >> value;
        return value;
    };
    malloc_trim(0);                              // what earlier cases left free would hide what is taken here
    std::ofstream("/proc/self/clear_refs") << 5; // the peak begins anew
    const long before = kib("VmRSS:"), peak_before = kib("VmHWM:");
    std::string head = "{\"op\":\"push\",\"size\":" + std::to_string(kUpload) + "}\n", got;
    std::size_t sent = 0;
    bool closed = false;
    auto timer = *lab.loop->every(std::chrono::milliseconds(1), [&] {
        static const std::string block(65536, ' ');
        char buffer[4096];
        ssize_t n = 0;
        while (sent < head.size() &&
               (n = send(lab.client.get(), head.data() + sent, head.size() - sent, MSG_NOSIGNAL)) > 0)
            sent += static_cast<std::size_t>(n);
        while (sent >= head.size() && sent < kUpload &&
               (n = send(lab.client.get(), block.data(), block.size(), MSG_NOSIGNAL)) > 0)
            sent += static_cast<std::size_t>(n);
        while ((n = recv(lab.client.get(), buffer, sizeof buffer, 0)) > 0)
            got.append(buffer, static_cast<std::size_t>(n));
        closed = n == 0 || (n < 0 && errno == ECONNRESET);
        if (closed || sent >= kUpload)
            lab.loop->stop();
    });
    BOOST_REQUIRE(lab.loop->run().has_value());
    BOOST_TEST(got.find("limit envelope_bytes (134217728)") != std::string::npos);
    BOOST_TEST(closed);
    BOOST_TEST(sent < kUpload);
    BOOST_TEST(lab.echo.handled == 0);
    const long cost = kib("VmHWM:") - std::max(before, peak_before);
    std::cout << "# a refused upload of 1 GB: " << cost << " KiB of memory at the peak, " << sent / 1024
              << " KiB sent\n";
#ifndef __SANITIZE_ADDRESS__ // which takes memory of its own
    BOOST_TEST(cost < 1024);
    // The measure itself: what is taken shows.
    const std::string taken(4U << 20, 'x');
    BOOST_TEST(kib("VmHWM:") - std::max(before, peak_before) > 3L * 1024, taken.size());
#endif
}

BOOST_AUTO_TEST_CASE(closes_who_asks_nothing_and_keeps_who_follows) {
    // Never finishes its answer, as when events are followed.
    struct Follow final : core::Requests {
        std::shared_ptr<core::Answer> kept;
        void handle(const json&, core::Body, std::shared_ptr<core::Answer> answer) override {
            kept = std::move(answer);
            kept->send({{"ok", true}});
        }
    };
    for (const bool follows : {false, true}) {
        Lab lab;
        Follow follow;
        lab.serve(follow, std::chrono::milliseconds(40));
        if (follows)
            BOOST_REQUIRE(send(lab.client.get(), "{}\n", 3, MSG_NOSIGNAL) == 3);
        auto stop = *lab.loop->after(std::chrono::milliseconds(200), [&] { lab.loop->stop(); });
        BOOST_REQUIRE(lab.loop->run().has_value());
        char buffer[256];
        while (recv(lab.client.get(), buffer, sizeof buffer, 0) > 0) {
        }
        const bool closed = recv(lab.client.get(), buffer, sizeof buffer, 0) == 0;
        BOOST_TEST(closed == !follows);
        lab.server.reset(); // before who answers
    }
}

// Pushes wait for one another: what waits is not to be all of our memory.
BOOST_AUTO_TEST_CASE(bytes_count_until_whoever_handles_them_is_done) {
    struct Keep final : core::Requests {
        core::Body kept;
        void handle(const json&, core::Body body, std::shared_ptr<core::Answer> answer) override {
            if (!body.bytes.empty())
                kept = std::move(body);
            answer->send({{"ok", true}});
            answer->finish();
        }
    };
    Lab lab;
    Keep keep;
    lab.serve(keep);
    const auto announce = [](std::size_t size) { return "{\"size\":" + std::to_string(size) + "}\n"; };
    const auto huge = announce(policy::kMaxEnvelopeBytes.value);
    std::array<Fd, 3> more = {lab.another(), lab.another(), lab.another()};
    const auto say = [](const Fd& client, const std::string& text) {
        BOOST_REQUIRE(send(client.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    };
    const auto heard = [](const Fd& client) {
        char buffer[4096];
        const auto n = recv(client.get(), buffer, sizeof buffer, 0);
        return std::string(buffer, n > 0 ? static_cast<std::size_t>(n) : 0);
    };
    int step = 0;
    auto timer = *lab.loop->every(std::chrono::milliseconds(30), [&] {
        switch (step++) {
        case 0:
            return say(lab.client, announce(1) + "x");
        case 1:
            BOOST_TEST(keep.kept.bytes == "x");
            return say(more[0], huge);
        case 2:
            return say(more[1], huge); // one byte too many, as long as the first is held
        case 3:
            BOOST_TEST(heard(more[1]).find("too many bundles at once") != std::string::npos);
            keep.kept = {};
            return say(more[2], huge);
        default:
            BOOST_TEST(heard(more[2]) == "");
            lab.loop->stop();
        }
    });
    BOOST_REQUIRE(lab.loop->run().has_value());
    lab.server.reset(); // before who answers
}

BOOST_AUTO_TEST_CASE(reads_nothing_more_while_it_answers) {
    struct Slow final : core::Requests {
        std::shared_ptr<core::Answer> kept;
        int handled = 0;
        bool gone = false;
        void handle(const json&, core::Body, std::shared_ptr<core::Answer> answer) override {
            handled++;
            kept = std::move(answer);
            kept->on_close([this] { gone = true; });
        }
    };
    Lab lab;
    Slow slow;
    lab.serve(slow);
    std::string many;
    for (int i = 0; i < 20000; i++)
        many += "{}\n";
    std::size_t taken = 0;
    int quiet = 0, handled_once = 0;
    auto timer = *lab.loop->every(std::chrono::milliseconds(2), [&] {
        ssize_t n = 0;
        bool moved = false;
        while (lab.client && (n = send(lab.client.get(), many.data(), many.size(), MSG_NOSIGNAL)) > 0) {
            taken += static_cast<std::size_t>(n);
            moved = true;
            if (taken > 64U << 20)
                return lab.loop->stop();
        }
        quiet = moved ? 0 : quiet + 1;
        if (quiet == 10) {
            handled_once = slow.handled;
            slow.kept->finish(); // the next one is taken
        } else if (quiet == 20) {
            lab.client.reset(); // it is noticed although nothing is read
        } else if (slow.gone || quiet > 1000) {
            lab.loop->stop();
        }
    });
    BOOST_REQUIRE(lab.loop->run().has_value());
    BOOST_TEST(taken < 4U << 20); // what the socket holds, and one read
    BOOST_TEST(handled_once == 1);
    BOOST_TEST(slow.handled == 2);
    BOOST_TEST(slow.gone);
    lab.server.reset(); // before who answers
}

BOOST_AUTO_TEST_CASE(refuses_a_second_instance) {
    const Lab lab;
    Echo other;
    const auto second = control::Server::listen(*lab.loop, lab.folder / "control.sock", other);
    BOOST_REQUIRE(!second.has_value());
    BOOST_TEST(second.error().message().find("another penstockd") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
