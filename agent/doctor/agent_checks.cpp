// What the agent says of itself.
#include "agent/doctor/doctor.hpp"

namespace penstock::doctor {
namespace {

using Json = nlohmann::json;

void check_tunnels(const Json& status, Report& report) {
    for (const auto& tunnel : status.value("tunnels", Json::array())) {
        const auto name = tunnel.value("name", "");
        const auto state = tunnel.value("state", "");
        if (state == "up")
            report.ok("tunnels", name + " is up");
        else if (tunnel.value("taken_down", false))
            report.warning("tunnels", name + " was taken down by an operator", "penstock tunnel up " + name);
        else
            report.wrong("tunnels", name + " is " + state + ": " + tunnel.value("trouble", "no reason known yet"),
                         "penstock tunnel list; penstock events");
    }
}

void check_policy(const Json& status, Report& report) {
    const auto policy = status.value("policy", Json());
    if (!policy.is_object())
        return report.warning("policy", "none is in force: devices may reach nothing", "penstock push FILE");
    const auto title = policy.value("fleet", "") + " version " + std::to_string(policy.value("version", 0ULL));
    const bool expired = policy.value("expired", false);
    if (policy.value("locked", false))
        report.wrong("policy", title + (expired ? " has expired" : " is locked") + ", everything is refused",
                     expired ? "push a newer bundle" : "penstock events says why; push a newer bundle");
    else if (expired)
        report.warning("policy", title + " has expired and is kept in force", "push a newer bundle");
    else if (const auto back = policy.value("reverted_from", Json()); back.is_object())
        report.warning("policy",
                       title + " is in force again: version " + std::to_string(back.value("version", 0ULL)) +
                           " went back (" + back.value("why", "") + ")",
                       "mend that, and push the newer one again");
    else
        report.ok("policy", title + ", until " + policy.value("expires", ""));
}

void check_state(const Json& status, Report& report) {
    const auto state = status.value("state", Json::object());
    if (const auto trouble = state.value("trouble", ""); !trouble.empty())
        report.wrong("state", trouble, "mend that, then: systemctl restart penstockd");
    else if (const auto why = state.value("audit_trouble", ""); !why.empty())
        report.wrong("state", "what happens is not audited: " + why, "mend that; the next event is written");
    else
        report.ok("state", "sealed, and the audit log is written");
}

} // namespace

void check_agent(const Result<Json>& status, Report& report) {
    if (!status)
        return report.wrong("agent", status.error().message(), "systemctl start penstockd; journalctl -u penstockd");
    const auto version = status->value("version", "");
    if (version != PENSTOCK_VERSION)
        report.warning("agent", "penstockd is version " + version + ", this penstock " + PENSTOCK_VERSION,
                       "systemctl restart penstockd");
    else
        report.ok("agent", "penstockd " + version + " answers");
    const auto gate = status->value("gate", Json::object());
    const auto state = gate.value("state", "");
    if (state == "closed")
        report.ok("gate", "closed");
    else if (state == "released")
        report.wrong("gate", "released by an operator: devices are NOT GUARDED", "systemctl restart penstockd");
    else
        report.wrong("gate", gate.value("problem", "not closed"), "mend that; penstockd tries again every second");
    if (const auto trouble = status->value("ike", Json::object()).value("trouble", ""); !trouble.empty())
        report.wrong("ike", "penstock-ike does not run: " + trouble, "mend that; penstockd tries again");
    check_tunnels(*status, report);
    check_policy(*status, report);
    check_state(*status, report);
}

} // namespace penstock::doctor
