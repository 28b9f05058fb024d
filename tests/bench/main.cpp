// penstock-bench: what tests/bench/run asks of the kernel and of the agent's own code, a subcommand each.
#include "agent/base/file.hpp"
#include "agent/base/log.hpp"
#include "agent/cli/client.hpp"
#include "tests/bench/attach.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/gateway.hpp"
#include "tests/bench/traffic.hpp"

#include <CLI/CLI.hpp>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <functional>
#include <iostream>
#include <sched.h>

namespace {

using namespace penstock;
using namespace penstock::bench;

struct Options {
    std::filesystem::path folder;
    Plan plan;
    bool early_drop = false;
};

// lan0, wan0 and tun0 of a gateway as after `penstock push`; stays when this process ends.
Status install(const Options& options) {
    const auto fleet = Fleet::make();
    if (!fleet)
        return tl::unexpected(fleet.error());
    const auto root = fleet->root_document();
    auto bundle = fleet->bundle(make_policy(options.plan.size, 1));
    if (!root || !bundle)
        return fail("cannot make a bundle");
    auto gateway = Gateway::make(options.folder, *root, options.plan.size.devices);
    if (!gateway)
        return tl::unexpected(gateway.error());
    if (auto ok = (*gateway)->guard(options.plan.size.ipv6); !ok)
        return ok;
    if (options.early_drop)
        if (auto ok = (*gateway)->drop_early(); !ok)
            return ok;
    const auto once = [&, given = false]() mutable -> std::optional<std::string> {
        if (std::exchange(given, true))
            return std::nullopt;
        return std::move(*bundle);
    };
    if (auto ok = (*gateway)->push_each(once); !ok)
        return ok;
    const auto bytes = (*gateway)->map_bytes();
    if (!bytes)
        return tl::unexpected(bytes.error());
    std::cout << nlohmann::json{{"map_bytes", *bytes}}.dump() << "\n";
    return {};
}

// Two policies in turn, each the whole of it.
Status replace(const Options& options) {
    const auto fleet = Fleet::make();
    if (!fleet)
        return tl::unexpected(fleet.error());
    const auto root = fleet->root_document();
    if (!root)
        return tl::unexpected(root.error());
    auto gateway = Gateway::make(options.folder, *root, options.plan.size.devices);
    if (!gateway)
        return tl::unexpected(gateway.error());
    std::optional<Stopwatch> watch;
    const auto next = [&, version = std::uint64_t{0}]() mutable -> std::optional<std::string> {
        if (version > 1) // the first one replaced nothing
            std::cout << watch->wall_ns() << std::endl;
        auto policy = make_policy(options.plan.size, 1 + version % 2);
        policy.version = ++version;
        auto bundle = fleet->bundle(policy);
        std::string line; // each round when the other end of the pipe says so
        if (!bundle || (version > 1 && !std::getline(std::cin, line)))
            return std::nullopt;
        watch.emplace();
        return std::move(*bundle);
    };
    return (*gateway)->push_each(next);
}

// root.json and policy.bundle, for a penstockd.
Status write_bundle(const Options& options) {
    const auto fleet = Fleet::make();
    if (!fleet)
        return tl::unexpected(fleet.error());
    const auto root = fleet->root_document();
    const auto bundle = fleet->bundle(make_policy(options.plan.size, 1));
    if (!root || !bundle)
        return fail("cannot make a bundle");
    if (auto ok = write_file_atomically(options.folder / "root.json", *root); !ok)
        return ok;
    return write_file_atomically(options.folder / "policy.bundle", *bundle);
}

// To the penstockd of this folder, on a connection each, two policies in turn. Tells ten times how many it has pushed
// and how long each of those took, and goes on when the other end of the pipe says so.
Status push_all(const Options& options) {
    const auto fleet = Fleet::make();
    if (!fleet)
        return tl::unexpected(fleet.error());
    const auto root = fleet->root_document();
    if (!root)
        return tl::unexpected(root.error());
    if (auto ok = write_file_atomically(options.folder / "root.json", *root); !ok)
        return ok;
    std::cout << nlohmann::json{{"pushes", 0}}.dump() << std::endl;
    std::vector<std::int64_t> took;
    std::string line;
    for (std::uint64_t version = 1; version <= options.plan.rounds; version++) {
        if (version == 1 && !std::getline(std::cin, line))
            return {};
        auto policy = make_policy(options.plan.size, 1 + version % 2);
        policy.version = version;
        const auto bundle = fleet->bundle(policy);
        if (!bundle)
            return tl::unexpected(bundle.error());
        const Stopwatch watch;
        auto client = cli::Client::connect(options.folder / "run" / "control.sock");
        if (!client)
            return tl::unexpected(client.error());
        if (const auto answer = client->ask({{"op", "push"}, {"size", bundle->size()}}, *bundle); !answer)
            return tl::unexpected(answer.error());
        took.push_back(watch.wall_ns());
        if (version % (options.plan.rounds / 10) == 0) {
            std::cout << nlohmann::json{{"pushes", version}, {"took_ns", took}}.dump() << std::endl;
            took.clear();
            if (!std::getline(std::cin, line))
                return {};
        }
    }
    return {};
}

Status describe_policy(const Options& options) {
    std::cout
        << nlohmann::json{{"first", describe(options.plan.size, 1)}, {"second", describe(options.plan.size, 2)}}.dump()
        << "\n";
    return {};
}

// Programs that do nothing on every hook that a gateway of ours has.
Status attach_empty(const Options& options) {
    const auto generator = Generator::load();
    if (!generator)
        return tl::unexpected(generator.error());
    for (const auto& [interface, ingress] :
         {std::pair("lan0", true), std::pair("lan0", false), std::pair("wan0", true), std::pair("wan0", false)}) {
        const auto index = ifindex_of(interface);
        if (!index)
            return tl::unexpected(index.error());
        auto made = Attachment::make(generator->program("empty"), *index, ingress);
        if (!made)
            return tl::unexpected(made.error());
        if (auto ok = made->keep(options.folder / (std::string(interface) + (ingress ? "-in" : "-out"))); !ok)
            return ok;
    }
    return {};
}

// XDP_DROP for everything on lan0.
Status attach_drop(const Options&) {
    const auto generator = Generator::load();
    const auto index = ifindex_of("lan0");
    if (!generator || !index)
        return fail("cannot drop on lan0");
    if (const int error = bpf_xdp_attach(*index, generator->program("drop_all"), XDP_FLAGS_DRV_MODE, nullptr);
        error != 0)
        return fail_errno("XDP on lan0", -error);
    return {};
}

Status on_one_cpu(const std::function<Status(const Plan&)>& run, const Options& options) {
    cpu_set_t set;
    CPU_ZERO(&set);
    const int cpu = sched_getcpu();
    CPU_SET(cpu < 0 ? 0 : cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        return fail_errno("sched_setaffinity");
    return run(options.plan);
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    auto& plan = options.plan;
    CLI::App app("penstock-bench: see tests/bench/run");
    app.require_subcommand(1);
    std::function<Status(const Options&)> chosen;
    const auto command = [&](const char* name, const char* what, std::function<Status(const Options&)> run) {
        auto* sub = app.add_subcommand(name, what)->fallthrough();
        sub->callback([&chosen, run = std::move(run)] { chosen = run; });
    };
    app.add_option("--folder", options.folder);
    app.add_option("--devices", plan.size.devices);
    app.add_option("--roles", plan.size.roles);
    app.add_flag("--ipv6", plan.size.ipv6);
    app.add_option("--flows", plan.flows);
    app.add_option("--rounds", plan.rounds);
    app.add_option("--slot", plan.slot, "seconds");
    app.add_option("--gateway", plan.gateways);
    app.add_option("--answered", plan.answered);
    app.add_option("--encrypted", plan.encrypted);
    app.add_flag("--new-flows", plan.new_flows);
    app.add_flag("--strangers", plan.strangers);
    app.add_flag("--early-drop", options.early_drop, "install: strangers are dropped in XDP");
    command("install", "a penstock gateway in this network namespace", install);
    command("empty", "empty programs on its hooks", attach_empty);
    command("drop", "XDP_DROP on lan0", attach_drop);
    command("policy", "the policy as plain JSON", describe_policy);
    command("bundle", "root.json and policy.bundle", write_bundle);
    command("pushes", "push small policies to a penstockd", push_all);
    command("replace", "push whole policies", replace);
    command("traffic", "frames through gateways",
            [](const Options& o) { return on_one_cpu([](const Plan& p) { return run_traffic(p); }, o); });
    command("tcp", "TCP through gateways",
            [](const Options& o) { return on_one_cpu([](const Plan& p) { return run_tcp(p); }, o); });
    CLI11_PARSE(app, argc, argv);
    if (plan.size.roles == 0)
        plan.size.roles = plan.size.devices;
    if (auto ok = chosen(options); !ok) {
        std::cerr << "penstock-bench: " << ok.error().message() << "\n";
        return 1;
    }
    return 0;
}
