// agent/core/pending_push: what the ledger keeps of a push that waits, and when the gateway is well.
#include "agent/core/pending_push.hpp"
#include "tests/unit/policy_fixture.hpp"

#include <map>

using namespace penstock;
using namespace penstock::core;

namespace {

PendingPush push_of(std::vector<std::string> probes) {
    return {.pushed = {42, "new"},
            .before = {41, "old"},
            .until = policy::Time(std::chrono::seconds(1'800'000'000)),
            .wait = std::chrono::seconds(60),
            .probes = std::move(probes),
            .by = {.uid = 1000, .client = {{"client", "dns:ci"}}}};
}

struct Gateway {
    std::map<std::string, PushWatch::Traffic> devices{{"a", {10, 10}}, {"b", {0, 0}}};
    PushWatch::Look look = [this](const std::string& device) -> std::optional<PushWatch::Traffic> {
        const auto found = devices.find(device);
        return found == devices.end() ? std::nullopt : std::optional(found->second);
    };
};

using Lines = std::vector<std::string>;

} // namespace

BOOST_AUTO_TEST_SUITE(core_pending_push)

BOOST_AUTO_TEST_CASE(comes_back_from_the_ledger_as_it_was) {
    const auto before = push_of({"a", "b"});
    const auto after = PendingPush::read(nlohmann::json::parse(before.to_json().dump()));
    BOOST_REQUIRE(after && *after);
    BOOST_TEST(((*after)->pushed == before.pushed && (*after)->before == before.before));
    BOOST_TEST(((*after)->until == before.until && (*after)->wait == before.wait && (*after)->by.uid == 1000 &&
                (*after)->by.client == before.by.client));
    BOOST_TEST((*after)->probes == before.probes, boost::test_tools::per_element());
    const WentBack back{.to = before.before, .from = before.pushed, .why = "why"};
    const auto again = WentBack::read(back.to_json());
    BOOST_REQUIRE(again && *again);
    BOOST_TEST(((*again)->to == back.to && (*again)->from == back.from && (*again)->why == back.why));
}

BOOST_AUTO_TEST_CASE(no_entry_is_no_push_and_another_form_an_error) {
    BOOST_TEST((PendingPush::read(nullptr) && !*PendingPush::read(nullptr)));
    BOOST_TEST((WentBack::read(nullptr) && !*WentBack::read(nullptr)));
    auto entry = push_of({}).to_json();
    entry.erase("before");
    BOOST_TEST(!PendingPush::read(entry));
    BOOST_TEST(!PendingPush::read("text"));
    BOOST_TEST(!WentBack::read({{"to", 1}}));
}

BOOST_AUTO_TEST_CASE(a_probe_is_well_when_packets_go_and_come) {
    Gateway gateway;
    const PushWatch watch(push_of({"a"}), gateway.look);
    BOOST_TEST(watch.missing(gateway.look, {}) == Lines{"nothing of a went into a tunnel"},
               boost::test_tools::per_element());
    gateway.devices["b"] = {5, 5}; // nobody asked for it
    gateway.devices["a"].in++;
    BOOST_TEST(watch.missing(gateway.look, {}) == Lines{"nothing of a went into a tunnel"},
               boost::test_tools::per_element());
    gateway.devices["a"] = {11, 10};
    BOOST_TEST(watch.missing(gateway.look, {}) == Lines{"nothing came back to a"}, boost::test_tools::per_element());
    gateway.devices["a"] = {11, 11};
    BOOST_TEST(watch.missing(gateway.look, {"cloud"}).empty()); // it went through some tunnel
    gateway.devices.erase("a");
    BOOST_TEST(watch.missing(gateway.look, {}) == Lines{"the policy has no device \"a\""},
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(without_a_probe_the_tunnels_count) {
    Gateway gateway;
    const PushWatch watch(push_of({}), gateway.look);
    BOOST_TEST(watch.missing(gateway.look, {}).empty());
    BOOST_TEST(watch.missing(gateway.look, {"cloud"}) == Lines{"tunnel cloud is down"},
               boost::test_tools::per_element());
    BOOST_TEST(watch.is_about(push_of({"a"})));
    auto other = push_of({});
    other.pushed.version++;
    BOOST_TEST(!watch.is_about(other));
}

BOOST_AUTO_TEST_SUITE_END()
