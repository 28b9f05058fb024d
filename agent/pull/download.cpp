#include "agent/pull/download.hpp"

#include "agent/pull/tls_files.hpp"

#include <cerrno>
#include <cstdlib>
#include <curl/curl.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>
#include <utility>

namespace penstock::pull {
namespace {

constexpr auto kMend = "; while the gate is closed it needs an [[essential]], see penstock-pull(8)";

using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using List = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

} // namespace

struct Transfer {
    const Limits& limits;
    const Download::Stop& stop;
    Body& body;
    Header header = {}; // of the last answer, after redirects
    std::size_t header_bytes = 0;
    bool resumes = false; // part of the resource was asked for
    bool began = false;   // body is of this answer
    std::string wrong = {};
    char said[CURL_ERROR_SIZE] = {};
};

namespace {

bool write_all(int file, const char* data, std::size_t size) {
    while (size > 0) {
        const auto written = write(file, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        data += written;
        size -= static_cast<std::size_t>(written);
    }
    return true;
}

// Before the first byte of the answer that counts.
void begin(Transfer& transfer) {
    transfer.began = true;
    auto& body = transfer.body;
    const auto& header = transfer.header;
    if (header.status == 206) {
        if (!transfer.resumes || header.validators.etag != body.validators.etag || !header.continues_at(body.size))
            transfer.wrong = "the server answered with another part than was asked for";
        return;
    }
    if (ftruncate(body.file.get(), 0) != 0 || lseek(body.file.get(), 0, SEEK_SET) != 0)
        transfer.wrong = "cannot begin the file anew";
    body.size = 0;
    body.validators = header.validators;
    if (header.old_http && !header.delimited)
        transfer.wrong = "the server says no length, so that a part could not be told from the whole";
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    transfer.header_bytes += size;
    if (transfer.header_bytes > transfer.limits.header_bytes)
        transfer.wrong = "the header has more than " + std::to_string(transfer.limits.header_bytes) + " bytes";
    else
        transfer.header.take({data, size});
    return transfer.wrong.empty() ? size : 0;
}

std::size_t on_data(char* data, std::size_t, std::size_t size, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    if (transfer.header.status != 200 && transfer.header.status != 206)
        return 0; // the words of an error page
    if (!transfer.began)
        begin(transfer);
    auto& body = transfer.body;
    if (transfer.wrong.empty() && size > transfer.limits.bytes - body.size)
        transfer.wrong = "more bytes than any bundle may have: " + std::to_string(transfer.limits.bytes);
    if (transfer.wrong.empty() && !write_all(body.file.get(), data, size))
        transfer.wrong = "cannot keep what arrives: " + Error::from_errno("write", errno).message();
    if (!transfer.wrong.empty())
        return 0;
    body.size += size;
    return size;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<const Transfer*>(user)->stop() ? 1 : 0;
}

Result<Fd> nameless_file(const std::filesystem::path& folder) {
    auto name = (folder / "penstock-pull.XXXXXX").string();
    Fd out(mkostemp(name.data(), O_CLOEXEC));
    if (!out)
        return fail_errno("cannot make a file in " + folder.string());
    unlink(name.c_str());
    return out;
}

void append(List& list, const std::string& line) {
    if (auto* longer = curl_slist_append(list.get(), line.c_str())) {
        (void)list.release();
        list.reset(longer);
    }
}

void set_blob(CURL* curl, CURLoption option, std::string& text) {
    curl_blob blob{.data = text.data(), .len = text.size(), .flags = CURL_BLOB_NOCOPY};
    curl_easy_setopt(curl, option, &blob);
}

void set_tls(CURL* curl, TlsFiles& files) {
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (!files.ca.empty()) { // these alone: not the system's beside them
        curl_easy_setopt(curl, CURLOPT_CAINFO, nullptr);
        curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);
        set_blob(curl, CURLOPT_CAINFO_BLOB, files.ca);
    }
    if (files.certificate.empty())
        return;
    set_blob(curl, CURLOPT_SSLCERT_BLOB, files.certificate);
    set_blob(curl, CURLOPT_SSLKEY_BLOB, files.private_key);
}

void set_limits(CURL* curl, const Limits& limits) {
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(limits.connect.count()));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(limits.slowest));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(limits.slow.count()));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, static_cast<long>(std::chrono::seconds(limits.transfer).count()));
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(limits.bytes));
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, static_cast<long>(limits.redirects));
}

void set_request(CURL* curl, const core::BundleConfig& config) {
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_URL, config.url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "penstock-pull/" PENSTOCK_VERSION);
    curl_easy_setopt(curl, CURLOPT_PROXY, config.proxy.c_str()); // empty: none of the environment either
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

void set_callbacks(CURL* curl, Transfer& transfer) {
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer.said);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
}

// In libcurl's words. Those with times and counts in them differ each time, and would be told each time.
std::string words(CURLcode code, const Transfer& transfer) {
    if (!transfer.wrong.empty())
        return transfer.wrong;
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
        return "the server redirects to something other than https://";
    case CURLE_TOO_MANY_REDIRECTS:
        return "the server redirects more than " + std::to_string(transfer.limits.redirects) + " times";
    case CURLE_FILESIZE_EXCEEDED:
        return "more bytes than any bundle may have: " + std::to_string(transfer.limits.bytes);
    case CURLE_OPERATION_TIMEDOUT:
        return transfer.header.status != 0 ? "the server is too slow"
                                           : "the server does not answer in time" + std::string(kMend);
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return curl_easy_strerror(code) + std::string(kMend);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
        return transfer.said[0] != '\0' ? transfer.said : curl_easy_strerror(code);
    default:
        return curl_easy_strerror(code);
    }
}

bool is_broken_off(CURLcode code) {
    return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_OPERATION_TIMEDOUT ||
           code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM || code == CURLE_GOT_NOTHING ||
           code == CURLE_ABORTED_BY_CALLBACK;
}

} // namespace

Download::Got Download::get(const Validators& known) {
    const auto failed = [](const Error& error) { return tl::unexpected(Trouble{error.message()}); };
    auto files = TlsFiles::load(config_);
    if (!files)
        return failed(files.error());
    if (!begun_.file) {
        auto file = nameless_file(limits_.folder);
        if (!file)
            return failed(file.error());
        begun_ = {.file = std::move(*file)};
    }
    const Easy curl(curl_easy_init(), &curl_easy_cleanup);
    if (!curl)
        return failed(Error("libcurl does not start"));
    Transfer transfer{.limits = limits_, .stop = stop_, .body = begun_};
    transfer.resumes = begun_.size > 0;
    List lines(nullptr, &curl_slist_free_all);
    const bool conditional = !transfer.resumes && !(known.etag.empty() && known.last_modified.empty());
    if (transfer.resumes) {
        append(lines, "If-Range: " + begun_.validators.etag);
        append(lines, "Range: bytes=" + std::to_string(begun_.size) + "-");
    }
    if (conditional && !known.etag.empty())
        append(lines, "If-None-Match: " + known.etag);
    if (conditional && !known.last_modified.empty())
        append(lines, "If-Modified-Since: " + known.last_modified);
    set_request(curl.get(), config_);
    set_tls(curl.get(), *files);
    set_limits(curl.get(), limits_);
    set_callbacks(curl.get(), transfer);
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, lines.get());
    const auto code = curl_easy_perform(curl.get());
    curl_off_t wait = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RETRY_AFTER, &wait);
    auto got = finish(code, transfer, conditional);
    if (!got && wait > 0)
        got.error().retry_after = std::chrono::seconds(wait);
    return got;
}

// Keeps what can be continued, and nothing else.
Download::Got Download::finish(int result, const Transfer& transfer, bool conditional) {
    const auto code = static_cast<CURLcode>(result);
    const auto status = transfer.header.status;
    const bool good = status == 200 || status == 206;
    if (code == CURLE_OK && good && transfer.began)
        return std::exchange(begun_, {});
    // The server was not reached, or has troubles of its own; 4xx is its answer to what was asked.
    const bool untouched = transfer.resumes && !transfer.began && (status == 0 || status >= 500);
    const bool goes_on = transfer.began && transfer.wrong.empty() && begun_.size > 0 && begun_.validators.strong() &&
                         is_broken_off(code);
    if (!goes_on && !untouched)
        begun_ = {};
    if (code == CURLE_OK && status == 304 && conditional)
        return std::nullopt;
    if (code == CURLE_OK && good)
        return tl::unexpected(Trouble{"the server sent an empty file"});
    const bool refused = status != 0 && !good && (code == CURLE_OK || code == CURLE_WRITE_ERROR);
    if (refused && transfer.wrong.empty())
        return tl::unexpected(Trouble{"the server answered with HTTP status " + std::to_string(status)});
    return tl::unexpected(Trouble{words(code, transfer)});
}

} // namespace penstock::pull
