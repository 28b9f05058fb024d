#include "agent/cli/display.hpp"

#include "agent/cli/format.hpp"

#include <algorithm>
#include <vector>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

Tone tone_of(bool good) { return good ? Tone::good : Tone::bad; }

std::string tunnel_lines(const Json& tunnel) {
    const bool up = text_of(tunnel, "state") == "up";
    const bool taken_down = tunnel.value("taken_down", false);
    const auto state = taken_down ? "down (taken down by an operator)" : text_of(tunnel, "state");
    auto out = labelled("tunnel", text_of(tunnel, "name") + " " + paint(state, tone_of(up)) + " to " +
                                      text_of(tunnel, "peer") + ", ESP in " +
                                      (text_of(tunnel, "esp") == "kernel" ? "the kernel" : "user space"));
    if (!up)
        return out + (tunnel.contains("trouble") ? labelled("", text_of(tunnel, "trouble")) : "");
    out += labelled("", text_of(tunnel, "cipher") + ", SPI in " + text_of(tunnel, "spi_in") + ", out " +
                            text_of(tunnel, "spi_out"));
    auto age = "age " + human_duration(number_of(tunnel, "age_s"));
    if (tunnel.contains("rekey_in_s"))
        age += ", next rekey in " + human_duration(number_of(tunnel, "rekey_in_s"));
    out += labelled("", age);
    if (text_of(tunnel, "ike") != "up")
        out += labelled("", "IKE is " + text_of(tunnel, "ike") + "; the SAs go on until they expire") +
               (tunnel.contains("trouble") ? labelled("", text_of(tunnel, "trouble")) : "");
    return out;
}

std::string witness_line(const Json& witness) {
    if (!witness.is_object())
        return "";
    const auto state = text_of(witness, "state");
    const auto tone = state == "watching" ? Tone::good : state == "latched" ? Tone::bad : Tone::doubtful;
    if (witness.contains("why"))
        return labelled("witness", paint(state, tone) + ": " + text_of(witness, "why"));
    return labelled("witness", paint(state, tone) + ", " + text_of(witness, "esp") + " frames of ESP, " +
                                   text_of(witness, "clear") + " in clear");
}

std::string policy_line(const Json& policy) {
    if (!policy.is_object())
        return labelled("policy", paint("none", Tone::bad) + ": nothing is allowed. Push a bundle: penstock push FILE");
    auto out = text_of(policy, "fleet") + " version " + text_of(policy, "version");
    const bool expired = policy.value("expired", false);
    if (policy.value("locked", false))
        out += " " + paint(expired ? "EXPIRED, everything is refused" : "LOCKED, everything is refused", Tone::bad);
    else if (expired)
        out += " " + paint("EXPIRED, kept in force", Tone::bad);
    out = labelled("policy", out) + labelled("", "expires " + human_time(text_of(policy, "expires")));
    if (const auto pending = policy.value("pending", Json()); pending.is_object())
        out += labelled("", paint("goes back", Tone::doubtful) + " to version " + text_of(pending, "before") + " at " +
                                human_time(text_of(pending, "until")) + " unless the gateway is found well");
    if (const auto back = policy.value("reverted_from", Json()); back.is_object())
        out += labelled("", paint("version " + text_of(back, "version") + " went back", Tone::doubtful) + ": " +
                                text_of(back, "why"));
    return out;
}

std::string root_line(const Json& root) {
    if (root.contains("trouble"))
        return labelled("root", paint("no bundle can be taken", Tone::bad) + ": " + text_of(root, "trouble"));
    return labelled("root",
                    "version " + text_of(root, "version") +
                        (root.value("expired", false) ? " " + paint("EXPIRED, no bundle is taken", Tone::bad) : "")) +
           labelled("", "expires " + human_time(text_of(root, "expires")));
}

// Healthy, it says in one line what protects it.
std::string state_line(const Json& state) {
    if (const auto trouble = text_of(state, "trouble", ""); !trouble.empty())
        return labelled("state", paint("CANNOT BE OPENED", Tone::bad) + ": " + trouble);
    if (!state.contains("key"))
        return labelled("state", "unknown: this penstockd does not say");
    const auto& key = state["key"];
    auto out = labelled("state", "sealed, AES-256-GCM, key " + text_of(key, "id") + " from " +
                                     (text_of(key, "source") == "file" ? "a file" : "a credential"));
    if (const auto trouble = text_of(state, "audit_trouble", ""); !trouble.empty())
        out += labelled("", paint("AUDIT LOG", Tone::bad) + ": " + trouble);
    return out;
}

std::string drop_lines(const Json& drops, const Json& reasons) {
    std::vector<std::pair<std::uint64_t, std::string>> sorted;
    for (const auto& [name, count] : drops.items())
        sorted.emplace_back(count.get<std::uint64_t>(), name);
    std::ranges::sort(sorted, std::greater{});
    if (sorted.empty())
        return labelled("drops", "none");
    std::string out;
    constexpr std::size_t kShown = 8, kIndent = 18;
    for (std::size_t i = 0; i < sorted.size() && i < kShown; i++)
        out += wrap(format("%-8s %7s  ", i == 0 ? "drops" : "", human_count(sorted[i].first).c_str()) +
                        text_of(reasons, sorted[i].second.c_str(), sorted[i].second),
                    kIndent) +
               "\n";
    if (sorted.size() > kShown)
        out += labelled("", format("and %zu more reasons: penstock status --json", sorted.size() - kShown));
    return out;
}

std::string interface_name(const Json& one) {
    const auto role = text_of(one, "role");
    std::string mark;
    if (!one.value("present", true))
        mark = ", " + paint("absent", Tone::doubtful);
    else if (role != "tunnel" && !one.value("guarded", false))
        mark = ", " + paint("NOT GUARDED", Tone::bad);
    std::string carried;
    for (const auto& uplink : one.value("carries", Json::array()))
        carried += (carried.empty() ? " of " : "+") + uplink.get<std::string>();
    return text_of(one, "name") + " (" + role + (role == "carrier" ? carried : "") + mark + ")";
}

// A name that is longer than its column ends in '~'.
std::string fitted(const std::string& name, std::size_t columns) {
    return name.size() <= columns ? name : name.substr(0, columns - 1) + "~";
}

} // namespace

std::string show_gate(const Json& gate) {
    const auto state = text_of(gate, "state");
    auto out = labelled("gate", paint(state, tone_of(state == "closed")) + ", " + text_of(gate, "hooks"));
    if (state == "problem")
        out += labelled("", text_of(gate, "problem")) + labelled("", "nothing is forwarded until this is mended");
    if (state == "released")
        out += labelled("", paint("NOT GUARDED", Tone::bad) + "; close it: systemctl restart penstockd");
    std::string interfaces;
    for (const auto& one : gate.value("interfaces", Json::array()))
        interfaces += (interfaces.empty() ? "" : " ") + interface_name(one);
    out += labelled("", interfaces);
    if (const auto repairs = gate.value("repairs", 0); repairs != 0)
        out +=
            labelled("", "put back " + std::to_string(repairs) + " times what somebody had changed: penstock events");
    for (const auto& thing : gate.value("fights", Json::array()))
        out += labelled("", paint("FIGHT", Tone::bad) + ": somebody keeps undoing " + thing.get<std::string>());
    return out + witness_line(gate.value("witness", Json()));
}

std::string show_status(const Json& status) {
    auto out = labelled("gateway", text_of(status, "gateway") + ", penstock " + text_of(status, "version") + ", up " +
                                       human_duration(number_of(status, "uptime_s")));
    out += labelled("time", human_time(text_of(status, "time")));
    out += show_gate(status.value("gate", Json::object()));
    if (const auto trouble = text_of(status.value("ike", Json::object()), "trouble", ""); !trouble.empty())
        out += labelled("ike", paint("not running", Tone::bad) + ": " + trouble);
    for (const auto& tunnel : status.value("tunnels", Json::array()))
        out += tunnel_lines(tunnel);
    out += policy_line(status.value("policy", Json()));
    out += root_line(status.value("root", Json::object()));
    out += state_line(status.value("state", Json::object()));
    out += labelled("devices", text_of(status, "devices"));
    if (const auto at_least = text_of(status, "time_at_least", ""); !at_least.empty())
        out += labelled("clock", paint("BEHIND", Tone::bad) + ": it has shown " + human_time(at_least) +
                                     " before, by which expiry is judged; set it");
    return out + drop_lines(status.value("drops", Json::object()), status.value("drop_reasons", Json::object()));
}

std::string show_devices(const Json& answer) {
    constexpr std::size_t kName = 20;
    const char* line = "%-20s %-17s %10s %10s %7s %9s\n";
    auto out = format(line, "DEVICE", "MAC", "SENT", "RECEIVED", "DROPPED", "SEEN");
    for (const auto& device : answer.value("devices", Json::array())) {
        const bool seen = device.contains("seen_s_ago") && device["seen_s_ago"].is_number();
        out += format(line, fitted(text_of(device, "name"), kName).c_str(), text_of(device, "mac").c_str(),
                      human_size(static_cast<double>(number_of(device, "out_bytes"))).c_str(),
                      human_size(static_cast<double>(number_of(device, "in_bytes"))).c_str(),
                      human_count(static_cast<std::uint64_t>(number_of(device, "dropped"))).c_str(),
                      seen ? (short_duration(number_of(device, "seen_s_ago")) + " ago").c_str() : "never");
    }
    return out;
}

std::string show_device(const Json& device) {
    std::string addresses;
    for (const auto& address : device.value("addresses", Json::array()))
        addresses += (addresses.empty() ? "" : " ") + address.get<std::string>();
    auto out =
        labelled("groups", text_of(device, "group")) + labelled("addresses", addresses.empty() ? "none" : addresses);
    if (const auto evicted = number_of(device, "evicted_flows"); evicted > 0)
        out += labelled("flows", human_count(static_cast<std::uint64_t>(evicted)) +
                                     " made room for others: more at once than [policy] flows");
    return out;
}

std::string show_audit_record(const Json& record) {
    auto out = text_of(record, "seq") + "  " + human_time(text_of(record, "time")) + "  " + text_of(record, "event");
    for (const auto& [key, value] : record.items())
        if (key != "time" && key != "event" && key != "seq" && key != "prev")
            out += " " + key + "=" + text_of(record, key.c_str());
    return (colours() ? wrap(out, 4) : out) + "\n";
}

std::string show_audit_report(const Json& report) {
    std::string out;
    for (const auto& problem : report.value("problems", Json::array()))
        out += paint("NOT WHOLE", Tone::bad) + ": " + problem.get<std::string>() + "\n";
    const auto records = number_of(report, "records");
    if (records == 0)
        return out + "no record\n";
    return out + format("records %s to %s", text_of(report, "first").c_str(), text_of(report, "last").c_str()) +
           (out.empty() ? ": " + paint("whole", Tone::good) + ", none changed, moved or missing" : "") +
           "\nthe last: " + text_of(report, "last") + ":" + text_of(report, "hash") + "\n";
}

std::string show_tunnels(const Json& answer) {
    std::string out;
    for (const auto& tunnel : answer.value("tunnels", Json::array()))
        out += tunnel_lines(tunnel);
    return out;
}

std::string show_event(const Json& event) {
    auto out = local_clock(text_of(event, "time")) + "  " + text_of(event, "event");
    for (const auto& [key, value] : event.items())
        if (key != "time" && key != "event")
            out += " " + key + "=" + text_of(event, key.c_str());
    return (colours() ? wrap(out, 4) : out) + "\n";
}

std::string show_explanation(const Json& answer) {
    const bool allow = answer.value("allow", false);
    auto out = paint(allow ? "allow" : "deny", tone_of(allow)) + " (" + text_of(answer, "reason") +
               "): " + text_of(answer, "citation", "") + "\n";
    if (answer.contains("tunnel"))
        out += "through tunnel " + text_of(answer, "tunnel") + "\n";
    return out;
}

} // namespace penstock::cli
