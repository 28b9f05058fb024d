// What the uplink's program costs a packet, above a program that does nothing: figures for people, and a bar so high
// that only a mistake hits it.
#include "tests/bpf/gateway.hpp"

#include "agent/base/fd.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;

constexpr int kHotRuns = 200'000, kRounds = 7, kColdRuns = 301;
constexpr std::size_t kEvict = 48U << 20; // more than the last level of most caches
constexpr double kBar = 2000;             // ns, hot; the goal of 30 is for real machines, which this one may not be

Fd empty_program() {
    const bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = TC_ACT_UNSPEC},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    return Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "nothing", "GPL", code, std::size(code), nullptr));
}

// Nanoseconds a run, as the kernel measures them.
double duration(int program, const Bytes& frame, const __sk_buff& context, int runs) {
    auto skb = context;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.ctx_in = &skb;
    options.ctx_size_in = sizeof skb;
    options.repeat = runs;
    if (bpf_prog_test_run_opts(program, &options) != 0)
        throw std::runtime_error("BPF_PROG_TEST_RUN does not work");
    return options.duration;
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    return *middle;
}

// The two by turns, so that what else the machine does meets both.
struct Cost {
    double empty, ours;
    [[nodiscard]] double above() const { return ours - empty; }
};

Cost hot(int empty, int ours, const Bytes& frame, const __sk_buff& context) {
    Cost best{1e9, 1e9};
    for (int i = 0; i < kRounds; i++) {
        best.empty = std::min(best.empty, duration(empty, frame, context, kHotRuns));
        best.ours = std::min(best.ours, duration(ours, frame, context, kHotRuns));
    }
    return best;
}

Cost cold(int empty, int ours, const Bytes& frame, const __sk_buff& context) {
    std::vector<std::uint8_t> waste(kEvict);
    const auto once = [&](int program) {
        for (std::size_t i = 0; i < waste.size(); i += 64)
            waste[i]++;
        return duration(program, frame, context, 1);
    };
    std::vector<double> a, b;
    for (int i = 0; i < kColdRuns; i++) {
        a.push_back(once(empty));
        b.push_back(once(ours));
    }
    return {median(a), median(b)};
}

BOOST_AUTO_TEST_SUITE(cost, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(of_the_uplink_program) {
    Gateway gateway;
    must(gateway.gate.set_flags({}));
    const auto empty = empty_program();
    const int ours = gateway.programs.program_fd(datapath::Hook::uplink_egress);
    const IPv4 to_peer{.source = "192.0.2.1", .destination = "192.0.2.2"};
    const Ethernet out{.source = "02:00:00:00:00:a1", .destination = "02:00:00:00:00:a2"};
    const Bytes frames[] = {out / to_peer / Esp{} / Payload{Bytes(1000, 0xa5)},
                            out / IPv6{.source = "2001:db8:2::1", .destination = "2001:db8:2::2"} / Esp{} /
                                Payload{Bytes(1000, 0xa5)}};
    const char* names[] = {"ESP", "ESP over IPv6"};
    const char* peers[] = {"192.0.2.2", "2001:db8:2::2"};
    __sk_buff skb{};
    skb.ifindex = static_cast<std::uint32_t>(gateway.wan);
    skb.mark = kEspMark;
    for (std::size_t i = 0; i < std::size(frames); i++) {
        must(gateway.gate.add_sa(address(peers[i]), kSpi, 0)); // the last one of its SPI is found fastest
        BOOST_TEST(gateway.uplink(frames[i], kEspMark) == "pass");
        const auto warm = hot(empty.get(), ours, frames[i], skb), chilly = cold(empty.get(), ours, frames[i], skb);
        std::printf("# uplink program, %s: %.0f ns hot, %.0f ns cold above an empty one (%.0f, %.0f)\n", names[i],
                    warm.above(), chilly.above(), warm.empty, chilly.empty);
        std::fflush(stdout);
        BOOST_TEST(warm.above() < kBar);
    }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
