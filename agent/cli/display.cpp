#include "agent/cli/display.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
#include <vector>

namespace penstock::cli {
namespace {

using Json = nlohmann::json;

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, pattern);
    std::vsnprintf(line, sizeof line, pattern, arguments);
    va_end(arguments);
    return line;
}

std::string text(const Json& object, const char* key, const std::string& otherwise = "-") {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null())
        return otherwise;
    return found->is_string() ? found->get<std::string>() : found->dump();
}

std::int64_t number(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

bool colours() {
    static const bool on = isatty(STDOUT_FILENO) && std::getenv("NO_COLOR") == nullptr;
    return on;
}

std::string paint(const std::string& word, bool good) {
    return colours() ? (good ? "\033[32m" : "\033[1;31m") + word + "\033[0m" : word;
}

std::string tunnel_lines(const Json& tunnel) {
    const bool up = text(tunnel, "state") == "up";
    const auto state = tunnel.value("taken_down", false) ? "down (taken down by an operator)" : text(tunnel, "state");
    auto out = "tunnel   " + text(tunnel, "name") + " " + paint(state, up) + " to " + text(tunnel, "peer") +
               ", ESP in " + (text(tunnel, "esp") == "kernel" ? "the kernel" : "user space") + "\n";
    if (up) {
        out += "         " + text(tunnel, "cipher") + ", SPI in " + text(tunnel, "spi_in") + ", out " +
               text(tunnel, "spi_out") + "\n";
        out += "         age " + human_duration(number(tunnel, "age_s"));
        if (tunnel.contains("rekey_in_s"))
            out += ", next rekey in " + human_duration(number(tunnel, "rekey_in_s"));
        out += "\n";
        if (text(tunnel, "ike") != "up")
            out += "         IKE is " + text(tunnel, "ike") + "; the SAs go on until they expire\n";
    } else if (tunnel.contains("trouble")) {
        out += "         " + text(tunnel, "trouble") + "\n";
    }
    return out;
}

std::string policy_line(const Json& policy) {
    if (!policy.is_object())
        return "policy   " + paint("none", false) + ": nothing is allowed. Push a bundle: penstock push FILE\n";
    auto out = "policy   " + text(policy, "fleet") + " version " + text(policy, "version") + ", expires " +
               text(policy, "expires");
    if (policy.value("locked", false))
        out += " " + paint("EXPIRED, everything is refused", false);
    else if (policy.value("expired", false))
        out += " " + paint("EXPIRED, kept in force", false);
    return out + "\n";
}

std::string drop_lines(const Json& drops, const Json& reasons) {
    std::vector<std::pair<std::uint64_t, std::string>> sorted;
    for (const auto& [name, count] : drops.items())
        sorted.emplace_back(count.get<std::uint64_t>(), name);
    std::ranges::sort(sorted, std::greater{});
    if (sorted.empty())
        return "drops    none\n";
    std::string out;
    constexpr std::size_t kShown = 8;
    for (std::size_t i = 0; i < sorted.size() && i < kShown; i++)
        out += format("%-8s %10llu  %s\n", i == 0 ? "drops" : "", static_cast<unsigned long long>(sorted[i].first),
                      text(reasons, sorted[i].second.c_str(), sorted[i].second).c_str());
    if (sorted.size() > kShown)
        out += format("         and %zu more reasons: penstock status --json\n", sorted.size() - kShown);
    return out;
}

} // namespace

std::string human_size(double bytes) {
    const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < std::size(units)) {
        bytes /= 1024;
        unit++;
    }
    return unit == 0 ? format("%.0f B", bytes) : format("%.1f %s", bytes, units[unit]);
}

std::string human_duration(std::int64_t seconds) {
    if (seconds < 60)
        return format("%lld s", static_cast<long long>(seconds));
    if (seconds < 3600)
        return format("%lld min %lld s", static_cast<long long>(seconds / 60), static_cast<long long>(seconds % 60));
    if (seconds < 86400)
        return format("%lld h %lld min", static_cast<long long>(seconds / 3600),
                      static_cast<long long>(seconds % 3600 / 60));
    return format("%lld d %lld h", static_cast<long long>(seconds / 86400),
                  static_cast<long long>(seconds % 86400 / 3600));
}

std::string show_gate(const Json& gate) {
    const auto state = text(gate, "state");
    std::string out = "gate     " + paint(state, state == "closed");
    if (state == "problem")
        out += ": " + text(gate, "problem") + "\n         nothing is forwarded until this is mended";
    if (state == "released")
        out += ": NOT GUARDED. Restart penstockd to close it";
    out += "\n        ";
    for (const auto& one : gate.value("interfaces", Json::array())) {
        const auto role = text(one, "role");
        const char* mark = role == "tunnel" ? "" : one.value("guarded", false) ? "" : " NOT GUARDED";
        out += " " + text(one, "name") + " (" + role + mark + ")";
    }
    return out + ", " + text(gate, "hooks") + "\n";
}

std::string show_status(const Json& status) {
    std::string out = "gateway  " + text(status, "gateway") + ", penstock " + text(status, "version") + ", up " +
                      human_duration(number(status, "uptime_s")) + "\n";
    out += show_gate(status.value("gate", Json::object()));
    for (const auto& tunnel : status.value("tunnels", Json::array()))
        out += tunnel_lines(tunnel);
    out += policy_line(status.value("policy", Json()));
    out += "devices  " + text(status, "devices") + "\n";
    return out + drop_lines(status.value("drops", Json::object()), status.value("drop_reasons", Json::object()));
}

std::string show_devices(const Json& answer) {
    std::string out = format("%-20s %-17s %10s %10s %8s %s\n", "DEVICE", "MAC", "SENT", "RECEIVED", "DROPPED", "SEEN");
    for (const auto& device : answer.value("devices", Json::array())) {
        const bool seen = device.contains("seen_s_ago") && device["seen_s_ago"].is_number();
        out += format("%-20s %-17s %10s %10s %8lld %s\n", text(device, "name").c_str(), text(device, "mac").c_str(),
                      human_size(static_cast<double>(number(device, "out_bytes"))).c_str(),
                      human_size(static_cast<double>(number(device, "in_bytes"))).c_str(),
                      static_cast<long long>(number(device, "dropped")),
                      seen ? human_duration(number(device, "seen_s_ago")).c_str() : "never");
    }
    return out;
}

std::string show_tunnels(const Json& answer) {
    std::string out;
    for (const auto& tunnel : answer.value("tunnels", Json::array()))
        out += tunnel_lines(tunnel);
    return out;
}

std::string show_event(const Json& event) {
    std::string out = text(event, "time") + " " + text(event, "event");
    for (const auto& [key, value] : event.items())
        if (key != "time" && key != "event")
            out += " " + key + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
    // What a stranger on the network chose must not steer the terminal.
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            c = '?';
    return out + "\n";
}

std::string show_explanation(const Json& answer) {
    const bool allow = answer.value("allow", false);
    auto out = paint(allow ? "allow" : "deny", allow) + " (" + text(answer, "reason") +
               "): " + text(answer, "citation", "") + "\n";
    if (answer.contains("tunnel"))
        out += "through tunnel " + text(answer, "tunnel") + "\n";
    return out;
}

} // namespace penstock::cli
