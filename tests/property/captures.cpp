// Captures of real devices through the programs and past the oracle, under a policy that allows half of what each
// device does: no verdict differs.
//
// PENSTOCK_CAPTURES: the folder (../shared/data/pcap); the captures are no part of the project.
#include "agent/core/to_tables.hpp"
#include "policy/yaml.hpp"
#include "tests/bpf/gateway.hpp"
#include "tests/property/capture.hpp"

#include <linux/pkt_cls.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Hook;
using policy::Came;

std::filesystem::path folder() {
    const char* const named = std::getenv("PENSTOCK_CAPTURES");
    return named != nullptr ? named : PENSTOCK_SOURCE_DIR "/../shared/data/pcap";
}

std::vector<std::filesystem::path> captures() {
    std::vector<std::filesystem::path> out;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder(), error))
        if (entry.path().extension() == ".pcap")
            out.push_back(entry.path());
    std::ranges::sort(out);
    return out;
}

boost::test_tools::assertion_result have_captures(utf::test_unit_id) {
    boost::test_tools::assertion_result have(!captures().empty());
    have.message() << "no captures in " << folder().string() << " (set PENSTOCK_CAPTURES)";
    return have;
}

// A flow with its two ends in one order, and what a service has to name for it.
struct Flow {
    std::string ends, service;
};

struct Count {
    std::size_t packets = 0, passed = 0, different = 0;
};

// One capture: who its device is, what it does, and a policy for the half of it.
class Capture {
public:
    explicit Capture(const std::filesystem::path& path) : frames(read_capture(path)) {
        std::map<std::string, int> calls; // who speaks to everybody is the device; a router answers
        for (const auto& frame : frames)
            calls[source_mac(frame)] += is_for_many(frame) ? 1 : 0;
        BOOST_REQUIRE(!calls.empty());
        device = std::ranges::max_element(calls, {}, [](const auto& one) { return one.second; })->first;
        for (const auto& frame : frames)
            if (source_mac(frame) == device)
                note_address(frame);
        if (addresses_.empty()) // it never got one
            addresses_.insert("192.0.2.99");
        for (const auto& frame : frames)
            if (const auto flow = flow_of(frame); flow && flows_.emplace(flow->ends, flow->service).second)
                if (std::ranges::find(services_, flow->service) == services_.end())
                    services_.push_back(flow->service);
    }

    [[nodiscard]] Came came(const Bytes& frame) const {
        return destination_mac(frame) == device && source_mac(frame) != device ? Came::out_of_tunnel
                                                                               : Came::from_device;
    }

    // Its services in the order in which they appear, every second one allowed.
    [[nodiscard]] policy::Policy half() const {
        std::string text = "fleet: captures\nversion: 1\nexpires: 2099-01-01T00:00:00Z\ngateways: [\"*\"]\nservices:\n"
                           "  unused: { to: [192.0.2.1/32], ports: [tcp/1] }\n";
        std::string allowed;
        for (std::size_t i = 0; i < services_.size(); i++) {
            text += "  s" + std::to_string(i) + ": { " + services_[i] + " }\n";
            if (i % 2 == 0)
                allowed += (allowed.empty() ? "s" : ", s") + std::to_string(i);
        }
        std::string addresses;
        for (const auto& one : addresses_)
            addresses += (addresses.empty() ? "\"" : ", \"") + one + "\"";
        text += "groups:\n  device: { allow: [" + allowed + "] }\ndevices:\n  - { name: device, mac: \"" + device +
                "\", addresses: [" + addresses + "], groups: [device] }\n";
        auto policy = policy::read_yaml({{"policy.yaml", text}});
        BOOST_REQUIRE_MESSAGE(policy, (policy ? "" : policy.error().message()) << "\n" << text);
        return std::move(*policy);
    }

    // Between the device and one other end; broadcasts and the gateway's own services are none.
    [[nodiscard]] std::optional<Flow> flow_of(const Bytes& frame) const {
        const auto transit = transit_of(frame, came(frame));
        const bool out = source_mac(frame) == device;
        if (!transit || is_for_many(frame) || (!out && destination_mac(frame) != device) ||
            (transit->fragment && transit->fragment->later))
            return std::nullopt;
        const auto& packet = transit->packet;
        const auto &own = out ? packet.source : packet.destination, &peer = out ? packet.destination : packet.source;
        if (!addresses_.contains(own.str()) || peer.str().starts_with("fe80:"))
            return std::nullopt;
        const bool six = own.family == AF_INET6;
        std::string service =
            std::string(out ? "to: [\"" : "from: [\"") + peer.str() + (six ? "/128" : "/32") + "\"], ports: [";
        if (packet.proto == IPPROTO_TCP || packet.proto == IPPROTO_UDP) {
            const auto own_port = out ? packet.source_port : packet.destination_port,
                       peer_port = out ? packet.destination_port : packet.source_port;
            const std::string proto = packet.proto == IPPROTO_TCP ? "tcp" : "udp";
            return Flow{proto + " " + own.str() + " " + std::to_string(own_port) + " " + peer.str() + " " +
                            std::to_string(peer_port),
                        service + proto + "/" + std::to_string(packet.destination_port) + "]"};
        }
        if (packet.proto == icmp_of(own.family) && packet.destination_port == (six ? 128 : 8))
            return Flow{"echo " + own.str() + " " + peer.str() + " " + std::to_string(transit->echo_id),
                        service + (six ? "icmpv6/128" : "icmp/8") + "]"};
        return std::nullopt;
    }

    std::vector<Bytes> frames;
    std::string device; // MAC

private:
    void note_address(const Bytes& frame) {
        const auto transit = transit_of(frame, Came::from_device);
        if (!transit)
            return;
        const auto source = transit->packet.source.str();
        if (source != "0.0.0.0" && source != "::" && !source.starts_with("fe80:"))
            addresses_.insert(source);
    }

    std::set<std::string> addresses_;
    std::map<std::string, std::string> flows_; // ends -> service
    std::vector<std::string> services_;
};

// What passes to the gateway itself, of which the oracle knows nothing: ARP, neighbour discovery, DHCP.
bool is_for_the_gateway(const Bytes& frame, const std::optional<policy::Transit>& transit) {
    if (!transit)
        return ethertype(frame) == 0x0806;
    const auto& packet = transit->packet;
    if (packet.proto == IPPROTO_ICMPV6)
        return packet.destination_port >= 133 && packet.destination_port <= 137;
    return packet.proto == IPPROTO_UDP && is_for_many(frame) &&
           (packet.destination_port == 67 || packet.destination_port == 547);
}

BOOST_AUTO_TEST_SUITE(captures_of_devices, *utf::precondition(can_run_bpf) * utf::precondition(have_captures))

BOOST_AUTO_TEST_CASE(the_oracle_and_the_programs_agree_on_real_devices) {
    Gateway gateway;
    must(gateway.gate.set_remote_networks({{prefix("0.0.0.0/0"), 0}, {prefix("::/0"), 0}}));
    const auto passes = [&](Came came, const Bytes& frame) {
        const bool out = came == Came::from_device;
        return run_program(gateway.programs, out ? Hook::lan_ingress : Hook::lan_egress, frame,
                           {.ifindex = gateway.lan, .ingress_ifindex = out ? gateway.lan : gateway.tun})
                   .action == TC_ACT_UNSPEC;
    };
    Count all;
    std::size_t flows = 0, allowed = 0;
    for (const auto& path : captures()) {
        const Capture capture(path);
        const auto policy = capture.half();
        gateway.enforce(core::to_tables(policy::compile(policy, policy::Time{}), {0}));
        must(gateway.counters.assign({{mac(capture.device), 0}}));
        policy::Gateway oracle(policy, policy::Time{});
        std::map<std::string, Count> by_flow;
        for (std::size_t i = 0; i < capture.frames.size(); i++) {
            const auto& frame = capture.frames[i];
            const auto came = capture.came(frame);
            const auto transit = transit_of(frame, came);
            if (came == Came::from_device && is_for_the_gateway(frame, transit))
                continue;
            const auto verdict = transit && !is_for_many(frame) ? oracle.judge(*transit) : policy::Verdict{};
            const bool passed = passes(came, frame);
            const auto flow = capture.flow_of(frame);
            for (auto* count : {&all, flow ? &by_flow[flow->ends] : nullptr})
                if (count != nullptr) {
                    count->packets++;
                    count->passed += passed ? 1 : 0;
                    count->different += passed != verdict.allow ? 1 : 0;
                }
            BOOST_TEST(passed == verdict.allow, path.filename().string()
                                                    << ", frame " << i + 1 << ": the programs "
                                                    << (passed ? "pass" : "drop") << " what the oracle says is "
                                                    << (verdict.citation.empty() ? "no flow" : verdict.citation));
        }
        flows += by_flow.size();
        for (const auto& [ends, count] : by_flow) {
            BOOST_TEST(count.different == 0U, path.filename().string() << ": " << ends);
            allowed += count.passed != 0 ? 1 : 0;
        }
    }
    std::cout << "# " << captures().size() << " captures, " << flows << " flows, of which " << allowed << " may; "
              << all.packets << " frames, " << all.passed << " passed, " << all.different << " differ\n";
    BOOST_TEST(all.packets > 0U);
    BOOST_TEST(allowed > 0U);
    BOOST_TEST(allowed < flows);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
