// The agent's answers for a person: at most 80 columns, sizes and times in words.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace penstock::cli {

std::string show_status(const nlohmann::json& status);
std::string show_gate(const nlohmann::json& gate);
std::string show_devices(const nlohmann::json& answer);
// What the list of devices has no room for.
std::string show_device(const nlohmann::json& device);
// With its number and date; the chain's hash is left out.
std::string show_audit_record(const nlohmann::json& record);
std::string show_audit_report(const nlohmann::json& report);
std::string show_tunnels(const nlohmann::json& answer);
std::string show_event(const nlohmann::json& event);
std::string show_explanation(const nlohmann::json& answer);

} // namespace penstock::cli
