#include "agent/api/metrics.hpp"

#include "policy/text.hpp"

#include <string_view>

namespace penstock::api {
namespace {

using Json = nlohmann::json;

class Text {
public:
    // One kind of number, with what it is.
    void describe(std::string_view name, std::string_view type, std::string_view help) {
        ((((out_ += "# HELP ") += name) += ' ') += help) += '\n';
        ((((out_ += "# TYPE ") += name) += ' ') += type) += '\n';
    }
    void add(std::string_view name, std::int64_t value) { (((out_ += name) += ' ') += std::to_string(value)) += '\n'; }
    void add(std::string_view name, std::string_view label, std::string_view text, std::int64_t value) {
        ((((((out_ += name) += '{') += label) += "=\"") += escaped(text)) += "\"} ") += std::to_string(value);
        out_ += '\n';
    }
    void one(std::string_view name, std::string_view type, std::string_view help, std::int64_t value) {
        describe(name, type, help);
        add(name, value);
    }
    // A map from text to number; nothing if there is none.
    void each(std::string_view name, std::string_view label, std::string_view help, const Json& numbers) {
        describe(name, "counter", help);
        if (numbers.is_object())
            for (const auto& [key, value] : numbers.items())
                if (value.is_number())
                    add(name, label, key, value.get<std::int64_t>());
    }
    std::string take() { return std::move(out_); }

private:
    static std::string escaped(std::string_view text) {
        std::string out;
        for (const char c : text)
            if (c == '\n')
                out += "\\n";
            else
                ((c == '"' || c == '\\') ? out += '\\' : out) += c;
        return out;
    }
    std::string out_;
};

const Json& at(const Json& object, const char* key) {
    static const Json nothing;
    if (!object.is_object())
        return nothing;
    const auto found = object.find(key);
    return found == object.end() ? nothing : *found;
}

std::int64_t number(const Json& value) { return value.is_number() ? value.get<std::int64_t>() : 0; }

void add_gate(const Json& gate, Text& out) {
    out.one("penstock_gate_closed", "gauge", "1: nothing of a device leaves but inside a tunnel.",
            at(gate, "state") == "closed");
    out.one("penstock_gate_repairs_total", "counter", "What somebody took away and penstockd put back.",
            number(at(gate, "repairs")));
    const auto& witness = at(gate, "witness");
    out.one("penstock_witness_latched", "gauge", "1: a frame in clear was seen, nothing is forwarded.",
            at(witness, "state") == "latched");
    out.one("penstock_witness_watching", "gauge", "1: the witness looks at what leaves.",
            at(witness, "state") == "watching");
    out.describe("penstock_witness_frames_total", "counter", "Frames that left an uplink, by what they were.");
    for (const auto* kind : {"esp", "ike", "host", "clear"})
        if (const auto& count = at(witness, kind); count.is_number())
            out.add("penstock_witness_frames_total", "kind", kind, number(count));
}

void add_policy(const Json& status, Text& out) {
    const auto& policy = at(status, "policy");
    out.one("penstock_policy_in_force", "gauge", "1: a policy was accepted.", policy.is_object());
    out.one("penstock_policy_version", "gauge", "Of the policy in force.", number(at(policy, "version")));
    out.one("penstock_policy_expired", "gauge", "1: it is past its expiry.", at(policy, "expired") == true);
    const auto& expires = at(policy, "expires");
    if (const auto time = policy::parse_time(expires.is_string() ? expires.get<std::string>() : ""))
        out.one("penstock_policy_expires_seconds", "gauge", "When it expires, in seconds since 1970.",
                time->time_since_epoch().count());
    out.one("penstock_policy_locked", "gauge", "1: every right is taken away.", at(policy, "locked") == true);
    out.one("penstock_devices", "gauge", "Devices of the policy.", number(at(status, "devices")));
}

void add_agent(const Json& status, Text& out) {
    out.one("penstock_uptime_seconds", "gauge", "Of penstockd.", number(at(status, "uptime_s")));
    add_gate(at(status, "gate"), out);
    out.describe("penstock_tunnel_up", "gauge", "1: the gate lets traffic into the tunnel.");
    if (const auto& tunnels = at(status, "tunnels"); tunnels.is_array())
        for (const auto& tunnel : tunnels)
            if (const auto& name = at(tunnel, "name"); name.is_string())
                out.add("penstock_tunnel_up", "tunnel", name.get_ref<const std::string&>(),
                        at(tunnel, "state") == "up");
    add_policy(status, out);
    out.each("penstock_drops_total", "reason", "Packets dropped since the gate was put up.", at(status, "drops"));
}

} // namespace

std::string metrics_text(const Json& status, const Counters& own, std::size_t connections) {
    Text out;
    out.one("penstock_up", "gauge", "1: penstockd answers.", status.is_object());
    if (status.is_object())
        add_agent(status, out);
    out.one("penstock_api_connections", "gauge", "Open now.", static_cast<std::int64_t>(connections));
    out.one("penstock_api_handshakes_failed_total", "counter", "Connections without a good certificate.",
            static_cast<std::int64_t>(own.handshakes_failed));
    out.one("penstock_api_connections_refused_total", "counter", "Closed at once, for a limit.",
            static_cast<std::int64_t>(own.refused));
    out.one("penstock_api_handshakes_evicted_total", "counter", "Closed in the handshake, for one that came after.",
            static_cast<std::int64_t>(own.evicted));
    out.describe("penstock_api_answers_total", "counter", "Answers by status code.");
    for (const auto& [code, count] : own.answers)
        out.add("penstock_api_answers_total", "code", std::to_string(code), static_cast<std::int64_t>(count));
    return out.take();
}

} // namespace penstock::api
