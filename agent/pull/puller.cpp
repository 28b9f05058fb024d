#include "agent/pull/puller.hpp"

#include "agent/base/log.hpp"

#include <array>
#include <memory>
#include <openssl/evp.h>

namespace penstock::pull {
namespace {

// Of the file's bytes (SHA-256), raw; empty: it cannot be read.
std::string digest_of(const Body& body) {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    std::array<char, 16384> piece{};
    if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
        return "";
    for (std::uint64_t done = 0; done < body.size;) {
        const auto got = pread(body.file.get(), piece.data(), piece.size(), static_cast<off_t>(done));
        if (got <= 0 || EVP_DigestUpdate(context.get(), piece.data(), static_cast<std::size_t>(got)) != 1)
            return "";
        done += static_cast<std::uint64_t>(got);
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
    unsigned size = 0;
    if (EVP_DigestFinal_ex(context.get(), out.data(), &size) != 1)
        return "";
    return {reinterpret_cast<const char*>(out.data()), size};
}

std::string text(const nlohmann::json& from, const char* key) {
    const auto found = from.find(key);
    return found != from.end() && found->is_string() ? found->get<std::string>() : "";
}

// What a judgement rests on besides the bundle.
std::string grounds(const nlohmann::json& status) {
    const auto root = status.value("root", nlohmann::json());
    return status.value("pid", nlohmann::json()).dump() + "/" +
           (root.is_object() ? root.value("version", nlohmann::json()) : root).dump();
}

} // namespace

bool Puller::is_news(const std::string& said) { return std::exchange(said_, said) != said; }

Puller::Looked Puller::failed(const std::string& why, std::optional<std::chrono::seconds> retry_after) {
    if (!stop_() && is_news(why))
        log::warning("pull_failed", {{"from", config_.host()}, {"why", why}});
    return {.said = why, .well = false, .retry_after = retry_after};
}

// Troubles that come back after it are news again.
Puller::Looked Puller::unchanged() {
    said_ = judged_;
    return {.said = judged_};
}

Puller::Looked Puller::look() {
    const auto status = penstockd_.status();
    if (!status)
        return failed(status.error().message());
    if (auto now = grounds(*status); now != under_) {
        under_ = std::move(now);
        known_ = {};
        digest_.clear();
    }
    auto got = download_.get(known_);
    if (!got)
        return failed(got.error().why, got.error().retry_after);
    if (!*got)
        return unchanged();
    const auto& body = **got;
    const auto digest = digest_of(body);
    if (digest.empty())
        return failed("cannot read what was fetched");
    if (digest == digest_) { // of a server that does not say so
        known_ = body.validators;
        return unchanged();
    }
    return hand_in(body, digest);
}

Puller::Looked Puller::hand_in(const Body& body, const std::string& digest) {
    const auto answer = penstockd_.push(body.file, body.size, {{"client", "pull"}, {"client_address", config_.host()}});
    return answer ? judge(*answer, body, digest) : failed(answer.error().message());
}

Puller::Looked Puller::judge(const nlohmann::json& answer, const Body& body, const std::string& digest) {
    const auto refusal = text(answer, "refusal"), why = text(answer, "error");
    const bool taken = answer.value("ok", nlohmann::json()) == true;
    if (!taken && (refusal.empty() || refusal == "gateway_unable"))
        return failed("penstockd could not take it: " + why);
    // Another day it may be valid, without a change at either end.
    if (taken || refusal != "not_yet_valid") {
        known_ = body.validators;
        digest_ = digest;
    }
    judged_ = taken ? text(answer, "message") : "refused: " + why;
    if (const bool news = is_news(judged_); news && taken)
        log::info("pulled", {{"from", config_.host()}, {"what", judged_}});
    else if (news)
        log::warning("pull_refused", {{"from", config_.host()}, {"refusal", refusal}, {"why", why}});
    return {.said = judged_};
}

} // namespace penstock::pull
