// What may be asked by which socket, and who is said to have asked.
#include "agent/core/requests.hpp"

#include <boost/test/unit_test.hpp>

using namespace penstock::core;
using nlohmann::json;

BOOST_AUTO_TEST_SUITE(core_door)

BOOST_AUTO_TEST_CASE(the_api_may_look_and_push) {
    for (const auto* op : {"status", "devices", "events", "explain", "push"})
        BOOST_TEST(may_ask(Door::api, op), op);
    for (const auto* op : {"guard", "tunnel", "tunnels", "audit", "", "Status", "status "}) {
        BOOST_TEST(!may_ask(Door::api, op), op);
        BOOST_TEST(may_ask(Door::control, op), op);
    }
}

BOOST_AUTO_TEST_CASE(only_the_api_speaks_for_others) {
    const json request = {
        {"asker", {{"client", "dns:ci"}, {"role", "publisher"}, {"event", "guard_released"}, {"fingerprint", 1}}}};
    json event = {{"event", "policy_in_force"}};
    asker_of(7, Door::control, request).sign(event);
    BOOST_TEST(event == json({{"event", "policy_in_force"}, {"uid", 7}}));
    asker_of(7, Door::api, request).sign(event);
    BOOST_TEST(event == json({{"event", "policy_in_force"}, {"uid", 7}, {"client", "dns:ci"}, {"role", "publisher"}}));
}

BOOST_AUTO_TEST_CASE(what_the_api_says_of_a_client_is_short_text) {
    json event;
    asker_of(7, Door::api, {{"asker", {{"client", std::string(100'000, 'x')}}}}).sign(event);
    BOOST_TEST(event["client"].get<std::string>().size() == 256U);
    for (const json& odd : {json(nullptr), json(1), json("x"), json::array({1})}) {
        json plain;
        asker_of(7, Door::api, {{"asker", odd}}).sign(plain);
        BOOST_TEST(plain == json({{"uid", 7}}));
    }
}

BOOST_AUTO_TEST_SUITE_END()
