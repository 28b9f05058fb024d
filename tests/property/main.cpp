// Random policies and random sequences of packets, judged by the oracle of policy/ and by the programs in the kernel
// (BPF_PROG_TEST_RUN): no verdict differs. In the build with the seeded faults: each of them makes one differ.
//
// PENSTOCK_PROPERTY_PACKETS: how many packets (100,000); PENSTOCK_PROPERTY_SEED: the first episode's seed (1).
#define BOOST_TEST_MODULE penstock - property
#include "agent/core/to_tables.hpp"
#include "policy/yaml.hpp"
#include "tests/bpf/gateway.hpp"
#include "tests/property/faults.hpp"
#include "tests/property/world.hpp"

#include <bpf/bpf.h>
#include <linux/pkt_cls.h>

#include <cstdlib>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Hook;

constexpr int kPackets = 150; // of a sequence: few enough that no device has more flows than places
constexpr int kSequences = 6; // under one policy, before the switch and after it

struct Outcomes {
    std::uint64_t packets = 0, passed = 0, dropped = 0, different = 0, policies = 0;
    std::string first_difference;
};

std::string hex(const Bytes& bytes) {
    std::string out;
    for (const auto byte : bytes) {
        static const char* const kDigits = "0123456789abcdef";
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

// One gateway, used again and again: the programs load once.
class Bench {
public:
    Bench() {
        must(gateway_.gate.set_remote_networks({{prefix("203.0.113.0/24"), 0}, {prefix("2001:db8:203::/64"), 0}}));
    }

    // Two policies of this seed: sequences of packets under the first, one with the switch in its middle, and more
    // under the second.
    void episode(std::uint32_t seed, Outcomes& out) {
        World world(seed);
        const auto first = next_policy(world), second = next_policy(world);
        enforce(first);
        out.policies += 2;
        for (int sequence = 0; sequence <= 2 * kSequences; sequence++) {
            const auto& policy = sequence <= kSequences ? first : second;
            for (std::uint32_t slot = 0; slot < 3; slot++)
                must(gateway_.counters.assign({{mac("02:00:00:00:00:99"), slot}}));
            world.forget();
            policy::Gateway oracle(policy, policy::Time{});
            for (int i = 0; i < kPackets; i++) {
                if (sequence == kSequences && i == kPackets / 2) {
                    enforce(second);
                    oracle.switch_to(second, policy::Time{});
                }
                judge(world.packet(), oracle, "seed " + std::to_string(seed) + ", sequence " + std::to_string(sequence),
                      out);
            }
        }
    }

    void set_fault(std::uint32_t number) {
        const auto map = must(gateway_.programs.map_fd("fault"));
        const std::uint32_t zero = 0;
        BOOST_REQUIRE(bpf_map_update_elem(map.get(), &zero, &number, BPF_ANY) == 0);
    }

private:
    void judge(const Sample& sample, policy::Gateway& oracle, const std::string& where, Outcomes& out) {
        const auto expected = oracle.judge(sample.transit());
        const bool passed = passes(sample);
        out.packets++;
        (passed ? out.passed : out.dropped)++;
        if (passed != expected.allow && out.different++ == 0)
            out.first_difference = where + ": the programs " + (passed ? "pass" : "drop") +
                                   " what the oracle says is " + expected.citation + "\n" + hex(sample.frame()) + "\n" +
                                   first_text_ + last_text_;
    }

    policy::Policy next_policy(World& world) {
        for (;;) {
            first_text_ = std::move(last_text_);
            last_text_ = world.policy();
            auto policy = policy::read_yaml({{"policy.yaml", last_text_}});
            if (policy)
                return std::move(*policy);
        }
    }

    void enforce(const policy::Policy& policy) {
        gateway_.enforce(core::to_tables(policy::compile(policy, policy::Time{}), {0, 1, 2}));
    }

    bool run(Hook hook, const Bytes& frame, const Context& context) {
        return run_program(gateway_.programs, hook, frame, context).action == TC_ACT_UNSPEC;
    }

    bool passes(const Sample& sample) {
        auto frame = sample.frame();
        if (sample.came == policy::Came::out_of_tunnel)
            return run(Hook::lan_egress, frame, {.ifindex = gateway_.lan, .ingress_ifindex = gateway_.tun});
        if (!run(Hook::lan_ingress, frame, {.ifindex = gateway_.lan, .ingress_ifindex = gateway_.lan}))
            return false;
        const auto to = owner(sample.destination);
        if (to.empty())
            return true;
        const auto address = mac_bytes(to); // the gateway routes it to another device
        std::copy(address.begin(), address.end(), frame.begin());
        return run(Hook::lan_egress, frame,
                   {.ifindex = gateway_.lan, .ingress_ifindex = gateway_.lan, .mark = kDeviceMark});
    }

    Gateway gateway_;
    std::string first_text_, last_text_;
};

BOOST_AUTO_TEST_SUITE(property, *utf::precondition(can_run_bpf))

#ifndef PENSTOCK_FAULTS

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

BOOST_AUTO_TEST_CASE(the_oracle_and_the_programs_agree) {
    Bench bench;
    Outcomes out;
    const auto wanted = setting("PENSTOCK_PROPERTY_PACKETS", 100'000);
    for (auto seed = setting("PENSTOCK_PROPERTY_SEED", 1); out.packets < wanted; seed++)
        bench.episode(static_cast<std::uint32_t>(seed), out);
    BOOST_TEST_MESSAGE(out.packets << " packets, " << out.passed << " passed, " << out.policies << " policies");
    BOOST_TEST(out.different == 0U, out.different << " of " << out.packets << " differ; " << out.first_difference);
    BOOST_TEST(out.passed * 8 > out.packets); // of both enough
    BOOST_TEST(out.dropped * 5 > out.packets);
}

#else

BOOST_AUTO_TEST_CASE(every_seeded_fault_is_found) {
    Bench bench;
    Outcomes sound;
    bench.set_fault(0);
    for (std::uint32_t seed = 1; seed <= 20; seed++)
        bench.episode(seed, sound);
    BOOST_TEST(sound.different == 0U, sound.first_difference);
    for (const auto& fault : kFaults) {
        Outcomes out;
        bench.set_fault(fault.number);
        for (std::uint32_t seed = 1; seed <= 400 && out.different == 0; seed++)
            bench.episode(seed, out);
        BOOST_TEST(out.different != 0U, "fault " << fault.number << " (" << fault.what << ") is not found");
        BOOST_TEST_MESSAGE("fault " << fault.number << ": found after " << out.packets << " packets");
    }
}

#endif

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
