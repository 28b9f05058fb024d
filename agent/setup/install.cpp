#include "agent/setup/install.hpp"

#include "agent/base/file.hpp"
#include "agent/base/tool.hpp"
#include "agent/setup/request.hpp"
#include "agent/setup/texts.hpp"

#include <sstream>

namespace penstock::setup {
namespace {

constexpr std::size_t kMaxBytes = 1U << 20;
constexpr unsigned kPublic = 0644;
constexpr unsigned kSecret = 0600;

bool is_there(const std::filesystem::path& path) {
    std::error_code error;
    return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

Status copy(const std::filesystem::path& from, const std::filesystem::path& to, Said& said) {
    const auto content = read_file(from, kMaxBytes);
    if (!content)
        return tl::unexpected(content.error());
    if (content->find("PRIVATE KEY-----") != std::string::npos)
        return fail(from.string() + " holds a private key too, and everybody could read its copy; give the certificate "
                                    "alone, and the key as private_key");
    return put_file(to, *content, kPublic, said);
}

// What a running penstockd trusts is not replaced before the new configuration is armed.
Status copy_anchor(const std::filesystem::path& from, const std::filesystem::path& to, const Paths& paths, Said& said,
                   const std::string& mend) {
    const auto content = read_file(from, kMaxBytes), there = read_file(to, kMaxBytes);
    if (content && there && *content != *there && is_there(paths.config()))
        return fail(to.string() + " is another than " + from.string() + ", and the configuration in force trusts it; " +
                    mend);
    return copy(from, to, said);
}

Status install_key(const std::filesystem::path& from, const std::filesystem::path& to, Said& said) {
    auto content = read_guarded(from, kMaxBytes, true);
    if (!content)
        return tl::unexpected(content.error());
    const policy::Secret key(std::move(*content));
    auto there = read_file(to, kMaxBytes);
    const policy::Secret old(there ? std::move(*there) : "");
    if (there && old.text == key.text)
        return {};
    if (there)
        return fail(to.string() + " is another key than " + from.string() +
                    "; a private key is never replaced: move it away first");
    said.push_back("wrote " + to.string());
    return write_file_atomically(to, key.text, kSecret, Existing::refuse);
}

// A key of its own, kept if there is one already, and a request for it.
Status make_own(const Answers& answers, const Paths& paths, Said& said) {
    const auto path = paths.etc / kPrivateKey;
    if (!is_there(path)) {
        const auto key = make_key();
        if (!key)
            return tl::unexpected(key.error());
        if (auto ok = write_file_atomically(path, key->text, kSecret, Existing::refuse); !ok)
            return ok;
        said.push_back("made the key " + path.string());
    }
    auto text = read_guarded(path, kMaxBytes, true);
    if (!text)
        return tl::unexpected(text.error());
    const auto request = make_request(policy::Secret(std::move(*text)), answers.local_id);
    if (!request)
        return tl::unexpected(request.error());
    return put_file(paths.etc / kRequest, *request, kPublic, said);
}

// true: there is a certificate.
Result<bool> install_certificate(const Answers& answers, const Paths& paths, Said& said) {
    if (!answers.certificate.empty()) {
        if (!answers.private_key.empty())
            if (auto ok = install_key(answers.private_key, paths.etc / kPrivateKey, said); !ok)
                return tl::unexpected(ok.error());
        if (auto ok = copy(answers.certificate, paths.etc / kCertificate, said); !ok)
            return tl::unexpected(ok.error());
        return true;
    }
    if (is_there(paths.etc / kCertificate)) {
        said.push_back("kept the certificate " + (paths.etc / kCertificate).string());
        return true;
    }
    if (auto ok = make_own(answers, paths, said); !ok)
        return tl::unexpected(ok.error());
    return false;
}

Said lines_of(const std::string& text) {
    Said out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
        out.push_back(line);
    return out;
}

// What is wrong besides the certificate that is to come.
Status check_the_rest(const Paths& paths) {
    Said warnings;
    const auto ok = check(paths, warnings);
    std::string rest;
    if (!ok)
        for (const auto& line : lines_of(ok.error().message()))
            if (line.find(": warning: ") == std::string::npos &&
                line.find((paths.etc / kCertificate).string()) == std::string::npos)
                rest += (rest.empty() ? "" : "\n") + line;
    return rest.empty() ? Status{} : fail(rest);
}

} // namespace

Status put_file(const std::filesystem::path& path, std::string_view content, unsigned mode, Said& said) {
    const auto there = read_file(path, kMaxBytes);
    if (there && *there == content) {
        said.push_back("kept " + path.string());
        return {};
    }
    if (is_there(path)) {
        const auto old = path.string() + ".old";
        std::error_code error;
        std::filesystem::copy_file(path, old, std::filesystem::copy_options::overwrite_existing, error);
        if (error)
            return fail_errno("cannot keep " + path.string() + " as " + old, error.value());
        said.push_back("replaced " + path.string() + "; what was there is " + old);
    } else {
        said.push_back("wrote " + path.string());
    }
    return write_file_atomically(path, content, mode);
}

Status check(const Paths& paths, Said& said) {
    auto found = run_tool({"penstockd", "--check-config", paths.draft().string()}, Stderr::join);
    if (!found)
        return tl::unexpected(found.error());
    const auto lines = lines_of(*found); // "good", and warnings
    said.insert(said.end(), lines.begin(), lines.end());
    return {};
}

Result<bool> install(const Answers& answers, const Paths& paths, Said& said) {
    std::error_code error;
    std::filesystem::create_directories(paths.etc, error);
    if (error)
        return fail_errno("cannot make " + paths.etc.string(), error.value());
    const auto certificate = install_certificate(answers, paths, said);
    if (!certificate)
        return tl::unexpected(certificate.error());
    for (std::size_t i = 0; i < answers.ca.size(); i++)
        if (auto ok = copy_anchor(answers.ca[i], paths.etc / ca_name(i), paths, said, "replace it by hand first"); !ok)
            return tl::unexpected(ok.error());
    if (auto ok =
            copy_anchor(answers.root, paths.etc / kRoot, paths, said, "push what penstock bundle rotate-root makes");
        !ok)
        return tl::unexpected(ok.error());
    if (auto ok = write_file_atomically(paths.draft(), config_text(answers), kPublic); !ok)
        return tl::unexpected(ok.error());
    const auto config = core::Config::load(paths.draft());
    if (!config)
        return tl::unexpected(config.error());
    if (auto ok = put_file(paths.etc / kCloudSide, cloud_side(*config), kPublic, said); !ok)
        return tl::unexpected(ok.error());
    if (auto ok = *certificate ? check(paths, said) : check_the_rest(paths); !ok)
        return tl::unexpected(ok.error());
    return *certificate;
}

} // namespace penstock::setup
