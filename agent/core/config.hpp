// /etc/penstock/penstock.toml as a value. Read strictly: an unknown key, a wrong type or a contradiction is an error
// that names file, line and mend.
#pragma once

#include "agent/base/ip.hpp"
#include "agent/base/result.hpp"
#include "agent/core/api_config.hpp"
#include "agent/core/bundle_config.hpp"
#include "agent/store/audit_log.hpp"
#include "agent/store/keyring.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace penstock::core {

// Strangers dropped in the driver of a LAN interface (XDP). automatic: where it is a driver of hardware.
enum class EarlyDropMode { automatic, on, off };
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

// A service of the gateway itself that may speak over an uplink while the gate is closed (agent/core/essentials).
struct Essential {
    std::string name;
    std::vector<std::string> cgroups; // "/system.slice/ssh.service"; its sockets are made in one of them, or below
    std::vector<std::uint8_t> protos; // IPPROTO_TCP, IPPROTO_UDP
    std::vector<std::uint16_t> ports;
    bool local = false;             // the ports are the gateway's (it answers), not the other side's (it asks)
    std::vector<IpPrefix> networks; // of the other side
    bool operator==(const Essential&) const = default;
};

struct Config {
    std::filesystem::path file;
    std::string gateway;
    std::vector<std::string> lan, uplink; // interface names
    EarlyDropMode early_drop = EarlyDropMode::automatic;
    struct Pppoe {
        std::string uplink, carrier; // ppp0 over wan0
        bool operator==(const Pppoe&) const = default;
    };
    std::vector<Pppoe> pppoe;
    bool host_egress_open = false;
    std::vector<Essential> essentials;

    std::filesystem::path certificate, private_key;
    std::vector<std::filesystem::path> ca;
    std::string ike_user = "penstock-ike";
    EspMode esp = EspMode::automatic;
    std::vector<TunnelConfig> tunnels;

    std::optional<ApiConfig> api;       // none: penstock-api has nothing to do
    std::optional<BundleConfig> bundle; // none: penstock-pull has nothing to do

    std::filesystem::path root; // trust anchor of the policies
    bool lock_on_expiry = false;
    std::uint32_t device_capacity = 1024;
    std::uint32_t flows_per_device = 64; // of a family; a power of two

    store::Keyring::Places storage{.file = "storage.key", .previous = {}};
    store::AuditLog::Limits audit;

    bool full_identities = false;           // else pseudonyms (agent/core/privacy)
    std::chrono::hours keep_events{7 * 24}; // in memory

    std::filesystem::path state = "/var/lib/penstock";
    std::filesystem::path run = "/run/penstock";
    std::filesystem::path bpffs = "/sys/fs/bpf/penstock";
    std::filesystem::path libexec; // empty: the folder of penstockd itself
    std::uint32_t mark_mask = 0x30000000;
    std::uint32_t table = 20480;
    std::uint32_t rule_priority = 10; // of the first of our rules; they take seven

    static Result<Config> load(const std::filesystem::path& file);
    // Where the devices are: the local networks of all tunnels.
    [[nodiscard]] std::set<IpPrefix> device_networks() const;
    [[nodiscard]] std::filesystem::path control_socket() const { return run / "control.sock"; }
    [[nodiscard]] std::filesystem::path api_socket() const { return run / kApiSocket; }
};

} // namespace penstock::core
