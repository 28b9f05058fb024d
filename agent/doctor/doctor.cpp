#include "agent/doctor/doctor.hpp"

#include "agent/base/netns.hpp"

namespace penstock::doctor {
namespace {

// The pid of an agent that lives in another network namespace; 0: it lives in this one, or not at all.
std::int64_t agent_elsewhere(const Result<nlohmann::json>& status) {
    const auto here = own_netns();
    if (!status || !here || status->value("netns", *here) == *here)
        return 0;
    return status->value("pid", std::int64_t{0});
}

} // namespace

std::vector<Finding> examine(const std::filesystem::path& file, const Result<nlohmann::json>& status) {
    Report report;
    check_kernel(report);
    check_clock(report);
    check_agent(status, report);
    const auto config = core::Config::load(file);
    if (!config) {
        report.wrong("configuration", config.error().message(), "penstockd --check-config " + file.string());
        return report.findings();
    }
    check_files(*config, report);
    check_disk(*config, report);
    if (const auto elsewhere = agent_elsewhere(status); elsewhere != 0) {
        const auto enter = "nsenter --net=/proc/" + std::to_string(elsewhere) + "/ns/net ";
        report.wrong("network",
                     "penstockd guards another network namespace than the one this was started in; of that one "
                     "nothing is known here",
                     enter + "penstock doctor");
        return report.findings();
    }
    const auto network = core::NetworkView::read();
    if (!network) {
        report.wrong("network", network.error().message(), "run as root, in the gateway's network namespace");
        return report.findings();
    }
    check_hooks(*config, *network, status, report);
    check_layers(*config, *network, report);
    check_foreign(*config, *network, report);
    check_offloads(*config, *network, report);
    return report.findings();
}

} // namespace penstock::doctor
