// What counts as a repair, and when two managers fight.
#include "agent/core/repairs.hpp"

#include <boost/test/unit_test.hpp>

using namespace penstock;
using namespace penstock::core;

namespace {

struct Watched {
    EventLog events;
    Repairs repairs{events};
    Repairs::Clock::time_point now{std::chrono::hours(1)};

    // One look at a layer of one thing; whether it may be put back where it is missing.
    Status look(bool there) {
        repairs.begin(now);
        Status put;
        {
            Repairs::Look look(repairs, Layer::rules);
            if (!there)
                put = look.put("rule 1");
            if (put)
                look.stands("rule 1");
        }
        repairs.tell();
        return put;
    }
    [[nodiscard]] std::size_t told(const std::string& event) const {
        std::size_t count = 0;
        for (const auto& one : events.recent())
            count += one["event"] == event;
        return count;
    }
};

} // namespace

BOOST_AUTO_TEST_SUITE(core_repairs)

BOOST_AUTO_TEST_CASE(putting_up_is_no_repair_and_putting_back_is) {
    Watched gate;
    BOOST_TEST(gate.look(false).has_value());
    BOOST_TEST(gate.look(true).has_value());
    BOOST_TEST(gate.repairs.total() == 0U);
    BOOST_TEST(gate.look(false).has_value());
    BOOST_TEST(gate.repairs.count(Layer::rules) == 1U);
    BOOST_TEST(gate.repairs.count(Layer::routes) == 0U);
    BOOST_TEST(gate.told("repaired") == 1U);
}

BOOST_AUTO_TEST_CASE(what_is_no_longer_wanted_comes_back_without_a_repair) {
    Watched gate;
    BOOST_TEST(gate.look(false).has_value());
    {
        const Repairs::Look nothing(gate.repairs, Layer::rules);
    }
    BOOST_TEST(gate.look(false).has_value());
    BOOST_TEST(gate.repairs.total() == 0U);
}

BOOST_AUTO_TEST_CASE(what_could_not_be_put_back_is_one_repair_however_often_it_is_tried) {
    Watched gate;
    BOOST_TEST(gate.look(true).has_value());
    for (int i = 0; i < 10; i++) {
        Repairs::Look look(gate.repairs, Layer::rules);
        BOOST_TEST(look.put("rule 1").has_value()); // and then the kernel refuses
    }
    BOOST_TEST(gate.repairs.total() == 1U);
    BOOST_TEST(gate.repairs.fights().empty());
}

BOOST_AUTO_TEST_CASE(a_fight_is_said_once_slowed_down_and_over_after_a_quiet_window) {
    Watched gate;
    BOOST_TEST(gate.look(true).has_value());
    for (std::size_t i = 0; i < Repairs::kFight; i++) {
        BOOST_TEST(gate.repairs.peace().has_value());
        BOOST_TEST(gate.look(false).has_value());
        gate.now += std::chrono::milliseconds(100);
    }
    BOOST_TEST(gate.told("fight") == 1U);
    BOOST_TEST(!gate.repairs.peace().has_value());
    BOOST_TEST(!gate.look(false).has_value()); // a tenth of a second after the last
    BOOST_TEST(gate.repairs.total() == Repairs::kFight);
    gate.now += Repairs::kPeriod;
    BOOST_TEST(gate.look(false).has_value());
    BOOST_TEST(gate.repairs.total() == Repairs::kFight + 1);
    gate.now += Repairs::kWindow;
    BOOST_TEST(gate.look(true).has_value());
    BOOST_TEST(!gate.repairs.peace().has_value());
    gate.now += std::chrono::milliseconds(1);
    BOOST_TEST(gate.look(true).has_value());
    BOOST_TEST(gate.repairs.peace().has_value());
    BOOST_TEST(gate.told("fight") == 1U);
    BOOST_TEST(gate.told("fight_over") == 1U);
}

BOOST_AUTO_TEST_CASE(seldom_repairs_are_no_fight) {
    Watched gate;
    BOOST_TEST(gate.look(true).has_value());
    for (int i = 0; i < 20; i++) {
        gate.now += std::chrono::seconds(3);
        BOOST_TEST(gate.look(false).has_value());
    }
    BOOST_TEST(gate.repairs.peace().has_value());
}

BOOST_AUTO_TEST_SUITE_END()
