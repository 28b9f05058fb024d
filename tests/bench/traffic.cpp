#include "tests/bench/traffic.hpp"

#include "tests/bench/clock.hpp"

#include <algorithm>
#include <iostream>
#include <optional>
#include <unistd.h>

namespace penstock::bench {
namespace {

constexpr std::uint32_t kBatch = 64;

bool holds(const std::vector<std::string>& list, const std::string& name) {
    return std::ranges::find(list, name) != list.end();
}

struct Lane {
    std::string name;
    int out = 0; // ifindex of out0
    std::uint32_t packets = 1024;
    std::vector<Attachment> attached;
};

class Traffic {
public:
    Traffic(const Plan& plan, Generator generator) : plan_(plan), generator_(std::move(generator)) {}

    Status run() {
        for (const auto& name : plan_.gateways)
            if (auto ok = add_lane(name); !ok)
                return fail(name, std::move(ok.error()));
        generator_.set_to_peer(true);
        auto& settings = generator_.settings();
        settings.devices = plan_.size.devices;
        settings.roles = plan_.size.roles;
        settings.flows = plan_.flows;
        settings.ipv6 = plan_.size.ipv6;
        settings.random = 88172645463325252;
        for (auto& lane : lanes_)
            if (auto ok = establish(lane); !ok)
                return fail(lane.name, std::move(ok.error()));
        settings.new_flows = plan_.new_flows;
        settings.strangers = plan_.strangers;
        for (auto& lane : lanes_)
            if (auto ok = calibrate(lane); !ok)
                return fail(lane.name, std::move(ok.error()));
        for (std::uint32_t round = 0; round < plan_.rounds; round++)
            for (std::size_t i = 0; i < lanes_.size(); i++) // each round begins with another one
                if (auto ok = measure(lanes_[(i + round) % lanes_.size()], round); !ok)
                    return ok;
        return {};
    }

private:
    Status attach(Lane& lane, const char* side, const char* interface, const char* program, bool ingress) {
        if (auto ok = enter_namespace(lane.name + "-" + side); !ok)
            return ok;
        const auto index = ifindex_of(interface);
        if (!index)
            return tl::unexpected(index.error());
        auto made = Attachment::make(generator_.program(program), *index, ingress);
        if (!made)
            return tl::unexpected(made.error());
        lane.attached.push_back(std::move(*made));
        return {};
    }

    Status enter(const Lane& lane) {
        generator_.settings().out_ifindex = static_cast<std::uint32_t>(lane.out);
        return enter_namespace(lane.name + "-device");
    }

    Status add_lane(const std::string& name) {
        Lane lane{.name = name};
        if (auto ok = enter_namespace(name + "-device"); !ok)
            return ok;
        const auto out = ifindex_of("out0");
        if (!out)
            return tl::unexpected(out.error());
        lane.out = *out;
        static constexpr std::uint8_t kGatewayMac[6] = {0x02, 0xff, 0, 0, 0, 1};
        std::ranges::copy(kGatewayMac, generator_.settings().gateway_mac);
        if (auto ok = attach(lane, "device", "out0", "count_answer", true); !ok)
            return ok;
        if (holds(plan_.encrypted, name))
            if (auto ok = attach(lane, "gateway", "wan0", "encrypt", false); !ok)
                return ok;
        if (auto ok = attach(lane, "cloud", "in0", "sink", true); !ok)
            return ok;
        lanes_.push_back(std::move(lane));
        return {};
    }

    // Every flow once.
    Status establish(Lane& lane) {
        if (plan_.new_flows || plan_.strangers)
            return {};
        std::optional<Lane> answers;
        if (holds(plan_.answered, lane.name)) {
            answers.emplace();
            answers->name = lane.name;
            if (auto ok = attach(*answers, "cloud", "in0", "echo", true); !ok) // before the sink
                return ok;
        }
        if (auto ok = enter(lane); !ok)
            return ok;
        auto& settings = generator_.settings();
        settings.in_order = 1;
        settings.next = 0;
        const auto flows = std::uint64_t{plan_.size.devices} * plan_.flows;
        const auto before = generator_.returned();
        while (settings.next < flows) {
            const auto count =
                static_cast<std::uint32_t>(std::clamp<std::uint64_t>(flows - settings.next, kBatch, 4096));
            if (auto ok = generator_.send(count); !ok)
                return ok;
        }
        settings.in_order = 0;
        for (int i = 0; i < 100 && answers && generator_.returned() - before < flows; i++)
            usleep(10'000);
        if (answers && generator_.returned() - before < flows)
            std::cerr << lane.name << ": " << generator_.returned() - before << " answers to " << flows << " flows\n";
        return {};
    }

    // How many packets fill a slot.
    Status calibrate(Lane& lane) {
        if (auto ok = enter(lane); !ok)
            return ok;
        for (int i = 0; i < 24; i++) {
            const Stopwatch watch;
            if (auto ok = generator_.send(lane.packets); !ok)
                return ok;
            const double seconds = static_cast<double>(watch.wall_ns()) / 1e9;
            if (seconds > plan_.slot / 3) {
                lane.packets = std::max(kBatch, static_cast<std::uint32_t>(lane.packets * plan_.slot / seconds));
                return {};
            }
            lane.packets *= 2;
        }
        return {};
    }

    Status measure(Lane& lane, std::uint32_t round) {
        if (auto ok = enter(lane); !ok)
            return ok;
        if (auto ok = generator_.send(std::max(kBatch, lane.packets / 8)); !ok) // caches
            return ok;
        usleep(500);
        const auto before = generator_.delivered();
        const Stopwatch watch;
        if (auto ok = generator_.send(lane.packets); !ok)
            return ok;
        const auto cpu = watch.cpu_ns(), wall = watch.wall_ns();
        std::cout << R"({"round":)" << round << R"(,"gateway":")" << lane.name << R"(","packets":)" << lane.packets
                  << R"(,"delivered":)" << generator_.delivered() - before << R"(,"cpu_ns":)" << cpu << R"(,"wall_ns":)"
                  << wall << "}\n";
        return {};
    }

    const Plan& plan_;
    Generator generator_;
    std::vector<Lane> lanes_;
};

} // namespace

Status run_traffic(const Plan& plan) {
    auto generator = Generator::load();
    if (!generator)
        return tl::unexpected(generator.error());
    return Traffic(plan, std::move(*generator)).run();
}

} // namespace penstock::bench
