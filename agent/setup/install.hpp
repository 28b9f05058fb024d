// From answers to files: key and certificates, root document and a configuration that is checked, but not in force yet.
#pragma once

#include "agent/setup/answers.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace penstock::setup {

struct Paths {
    std::filesystem::path etc = "/etc/penstock";
    std::filesystem::path run = "/run/penstock-setup"; // there while a confirmation is waited for
    [[nodiscard]] std::filesystem::path config() const { return etc / "penstock.toml"; }
    [[nodiscard]] std::filesystem::path draft() const { return etc / "penstock.toml.new"; }
    [[nodiscard]] std::filesystem::path before() const { return etc / "penstock.toml.old"; }
};

using Said = std::vector<std::string>; // sentences for a person

// Nothing is overwritten without a word: what was there stays as FILE.old, and a private key is never replaced.
Status put_file(const std::filesystem::path& path, std::string_view content, unsigned mode, Said& said);

// What `penstockd --check-config` says of the draft.
Status check(const Paths& paths, Said& said);

// Writes everything into paths.etc, the configuration as its draft. true: the certificate is there, and penstockd
// finds nothing wrong. false: there is a request to be signed first.
Result<bool> install(const Answers& answers, const Paths& paths, Said& said);

} // namespace penstock::setup
