// agent/core/audit: what changes something is kept, and nobody can fill the log with refusals.
#include "agent/core/audit.hpp"
#include "tests/unit/state_folder.hpp"

#include <map>

using namespace penstock;
using namespace penstock::core;
using penstock::test::error_of;

namespace {

struct Auditing : test::StateFolder {
    EventLog events;

    // What the log holds after an agent that did this: events by name.
    std::map<std::string, int> kept(const std::function<void()>& happens) {
        auto state = opened({});
        auto loop = EventLoop::make();
        BOOST_REQUIRE(loop);
        {
            auto audit = Audit::make(**loop, events, state, {});
            BOOST_REQUIRE_MESSAGE(audit, error_of(audit));
            happens();
        } // writes what waits
        std::map<std::string, int> out;
        const auto report = store::AuditLog(state, {}).verify({}, [&](const nlohmann::json& record) {
            out[record["event"].get<std::string>()]++;
            if (record.contains("not_kept_before"))
                out["not kept"] += record["not_kept_before"].get<int>();
        });
        BOOST_REQUIRE(report);
        BOOST_TEST(report->problems.empty());
        return out;
    }
    void happen(const char* event, unsigned uid, int times = 1) {
        for (int i = 0; i < times; i++)
            events.add(log::Level::debug, event, {{"uid", uid}});
    }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(core_audit, Auditing)

BOOST_AUTO_TEST_CASE(what_changes_something_is_kept) {
    const auto found = kept([&] {
        happen("policy_in_force", 0);
        happen("sa_installed", 0, 5);
        happen("guard_released", 0);
        events.add_drop({{"reason", "no_match"}});
    });
    BOOST_TEST(found.size() == 2U);
    BOOST_TEST(found.at("policy_in_force") == 1);
    BOOST_TEST(found.at("guard_released") == 1);
}

BOOST_AUTO_TEST_CASE(who_is_not_root_cannot_fill_it) {
    const auto found = kept([&] {
        happen("tunnel_command", 1000, 150);
        happen("bundle_refused", 1000, 30);
        happen("policy_in_force", 1000, 3); // only with signatures
        happen("tunnel_command", 0, 7);
    });
    BOOST_TEST(found.at("tunnel_command") == 100 + 7);
    BOOST_TEST(!found.contains("bundle_refused"));
    BOOST_TEST(found.at("policy_in_force") == 3);
    BOOST_TEST(found.at("not kept") == 50 + 30);
}

BOOST_AUTO_TEST_SUITE_END()
