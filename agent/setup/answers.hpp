// What `penstock setup` must know, whether a file or a person says it.
#pragma once

#include "agent/core/routing.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace penstock::setup {

enum class Arm {
    later, // the configuration is not in force yet
    boot,  // the next boot closes the gate
    now,
};

struct Answers {
    std::string gateway;
    std::vector<std::string> lan, uplink; // interfaces
    std::string tunnel = "cloud";
    IpAddress peer;
    std::string local_id, remote_id;
    std::vector<IpPrefix> local_networks, remote_networks;
    // With whom the gateway's own services may speak, by the names of core::known_services().
    std::map<std::string, std::vector<IpPrefix>> services;
    std::filesystem::path certificate, private_key; // none: a key and a request are made
    std::vector<std::filesystem::path> ca;
    std::filesystem::path root;
    std::string user = "penstock-ike";
    std::optional<Arm> arm;
};

// Services that need networks: all that a person can list by name but DHCP.
std::vector<std::string> service_names();

// TOML, strictly: every mistake with its line. Paths are relative to the file.
Result<Answers> read_answers(const std::filesystem::path& file);

// What the machine itself suggests. from: where the person who asks sits; its address keeps SSH.
Answers proposals(const core::NetworkView& network, const std::string& hostname, const std::optional<IpAddress>& from);

} // namespace penstock::setup
