// What setup writes and says: the configuration, the cloud's side of it, and what will be blocked.
#pragma once

#include "agent/setup/answers.hpp"
#include "agent/setup/login.hpp"

#include <string>

namespace penstock::setup {

// Names of the files beside the configuration.
inline constexpr const char* kCertificate = "gateway.pem";
inline constexpr const char* kPrivateKey = "gateway.key";
inline constexpr const char* kRequest = "gateway.csr";
inline constexpr const char* kRoot = "root.json";
inline constexpr const char* kCloudSide = "cloud-swanctl.conf";
std::string ca_name(std::size_t index); // "ca.pem", "ca-2.pem"

std::string config_text(const Answers& answers);

// A fragment of swanctl.conf for the other end of every tunnel.
std::string cloud_side(const core::Config& config);

// One line an interface.
std::string interfaces_text(const core::NetworkView& network);

// What will not pass any more, and whether the person who asks is cut off by it.
std::string what_is_blocked(const core::Config& config, const core::NetworkView& network, const Login& login);

} // namespace penstock::setup
