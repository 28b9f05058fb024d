#include "agent/doctor/doctor.hpp"

namespace penstock::doctor {

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
    const auto network = core::NetworkView::read();
    if (!network) {
        report.wrong("network", network.error().message(), "run as root, in the gateway's network namespace");
        return report.findings();
    }
    check_hooks(*config, *network, status, report);
    check_layers(*config, report);
    check_foreign(*config, *network, report);
    check_offloads(*config, *network, report);
    return report.findings();
}

} // namespace penstock::doctor
