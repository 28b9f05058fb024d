// /etc/penstock/penstock.toml as a value. Read strictly: an unknown key, a wrong type or a contradiction is an error
// that names file, line and mend.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace penstock::core {

enum class EspMode { automatic, kernel, user };

struct TunnelConfig {
    std::string name;
    IpAddress peer;
    std::string local_id, remote_id;
    std::vector<IpPrefix> local_networks, remote_networks;
    std::string ike_proposal = "aes256gcm16-prfsha384-ecp384";
    std::string esp_proposal = "aes256gcm16-ecp384-esn";
    std::uint32_t ike_rekey = 14400; // seconds
    std::uint32_t child_rekey = 3600;
    std::uint32_t dpd = 30;
    bool operator==(const TunnelConfig&) const = default;
};

struct Config {
    std::filesystem::path file;
    std::string gateway;
    std::vector<std::string> lan, uplink; // interface names
    bool host_egress_open = false;

    std::filesystem::path certificate, private_key;
    std::vector<std::filesystem::path> ca;
    std::string ike_user = "penstock-ike";
    EspMode esp = EspMode::automatic;
    std::vector<TunnelConfig> tunnels;

    std::filesystem::path root; // trust anchor of the policies
    bool lock_on_expiry = false;
    std::uint32_t device_capacity = 1024;

    std::filesystem::path state = "/var/lib/penstock";
    std::filesystem::path run = "/run/penstock";
    std::filesystem::path bpffs = "/sys/fs/bpf/penstock";
    std::filesystem::path libexec; // empty: the folder of penstockd itself
    std::uint32_t mark_mask = 0x30000000;
    std::uint32_t table = 20480;
    std::uint32_t rule_priority = 10; // of the first of our rules; they take kRulePriorities

    static Result<Config> load(const std::filesystem::path& file);
    [[nodiscard]] std::filesystem::path control_socket() const { return run / "control.sock"; }
};

} // namespace penstock::core
