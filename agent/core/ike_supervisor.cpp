#include "agent/core/ike_supervisor.hpp"

#include "agent/base/file.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <csignal>
#include <pwd.h>
#include <sys/epoll.h>
#include <utility>

namespace penstock::core {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kFirstBackoff = std::chrono::milliseconds(50);
constexpr auto kLongestBackoff = std::chrono::milliseconds(5000);
constexpr auto kSilence = std::chrono::seconds(20); // it speaks once a second; a slow machine is not a dead one
constexpr auto kStable = std::chrono::seconds(30);
constexpr std::size_t kLongestTrouble = 400;
constexpr std::size_t kMostSaid = 64;
constexpr unsigned kAlertsASecond = 64;

std::filesystem::path program(const Config& config) {
    if (!config.libexec.empty())
        return config.libexec / "penstock-ike";
    std::error_code error;
    return std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "penstock-ike";
}

struct User {
    uid_t uid;
    gid_t gid;
};

Result<User> find_user(const Config& config) {
    const passwd* entry = getpwnam(config.ike_user.c_str());
    if (entry == nullptr)
        return fail("there is no user " + config.ike_user +
                    " to run penstock-ike as; make one: adduser --system --group " + config.ike_user);
    if (entry->pw_uid == 0)
        return fail("[ike] user must not be root");
    return User{entry->pw_uid, entry->pw_gid};
}

} // namespace

IkeSupervisor::IkeSupervisor(const Config& config, EventLoop& loop, EventLog& events, Ipsec& ipsec, Callbacks callbacks)
    : config_(config), loop_(loop), events_(events), ipsec_(ipsec), callbacks_(std::move(callbacks)),
      tunnels_(config.tunnels.size()), watch_([&config] {
          auto paths = config.ca;
          paths.push_back(config.certificate);
          paths.push_back(config.private_key);
          return paths;
      }) {}

Status IkeSupervisor::check(const Config& config) {
    if (auto user = find_user(config); !user)
        return tl::unexpected(user.error());
    if (access(program(config).c_str(), X_OK) != 0)
        return fail_errno("cannot run " + program(config).string());
    return {};
}

void IkeSupervisor::start() {
    restart_ = {};
    auto ok = spawn();
    const auto trouble = ok ? "" : ok.error().message();
    if (!ok && trouble != trouble_)
        events_.add(log::Level::error, "ike_start_failed", {{"why", trouble}});
    trouble_ = trouble;
    if (!ok && !process_)
        start_later();
}

void IkeSupervisor::restart(const std::string& why) {
    if (!process_)
        return;
    events_.add(log::Level::warning, "ike_restarted", {{"why", why}});
    kill(process_->pid(), SIGKILL); // its exit brings the next one
}

void IkeSupervisor::check_alive() {
    serve(&IkeServer::serve_events, 256); // it may have spoken while we did not listen
    if (!process_ || Clock::now() - alive_at_ < kSilence)
        return;
    alive();
    restart("it hangs: it was silent for " + std::to_string(kSilence.count()) + " s");
}

Status IkeSupervisor::reload() {
    if (auto ok = look_at_credentials(); !ok)
        return ok;
    if (server_)
        return configure();
    start();
    return trouble_.empty() ? Status{} : fail(trouble_);
}

// What no peer would accept is not tried, but said. A wrong date is no reason to stay down: the clock may be what is
// wrong, and is set without us.
Status IkeSupervisor::look_at_credentials() {
    watch_.reading();
    auto credentials = read_credentials(config_);
    std::string all;
    for (const auto& problem : credentials.problems)
        all += (all.empty() ? "" : "; ") + problem;
    if (!all.empty())
        return fail(std::move(all));
    credentials_ = std::move(credentials);
    return {};
}

std::vector<std::string> IkeSupervisor::date_problems() const { return credentials_.problems_at(policy::now()); }

Status IkeSupervisor::spawn() {
    if (auto ok = look_at_credentials(); !ok)
        return ok;
    const auto user = find_user(config_);
    if (!user)
        return tl::unexpected(user.error());
    auto process = IkeProcess::spawn(
        {.program = program(config_).string(), .uid = user->uid, .gid = user->gid, .user_esp = ipsec_.user_esp()});
    if (!process)
        return tl::unexpected(process.error());
    started_ = Clock::now();
    alive();
    process_.emplace(std::move(*process));
    auto child = loop_.on_child(process_->pid(), [this](int code, int status) {
        died((code == CLD_EXITED ? "exit status " : "signal ") + std::to_string(status));
    });
    if (!child) {
        process_.reset();
        return tl::unexpected(child.error());
    }
    child_ = std::move(*child);
    server_.emplace(std::move(process_->requests), std::move(process_->events), ipsec_, *this);
    auto requests =
        loop_.on_fd(server_->requests_fd(), EPOLLIN, [this](std::uint32_t) { serve(&IkeServer::serve_requests, 64); });
    auto events =
        loop_.on_fd(server_->events_fd(), EPOLLIN, [this](std::uint32_t) { serve(&IkeServer::serve_events, 256); });
    events_.add(log::Level::info, "ike_started", {{"pid", process_->pid()}});
    greeted_ = false;
    Status ok;
    if (!requests)
        ok = tl::unexpected(requests.error());
    else if (!events)
        ok = tl::unexpected(events.error());
    else {
        requests_ = std::move(*requests);
        events_source_ = std::move(*events);
        ok = configure();
    }
    if (!ok) {
        // Its death brings the next try, later each time.
        events_.add(log::Level::error, "ike_start_failed", {{"why", ok.error().message()}});
        kill(process_->pid(), SIGKILL);
    }
    return {};
}

Status IkeSupervisor::configure() {
    IkeConfig out;
    out.user_esp = ipsec_.user_esp();
    out.interfaces = config_.uplink;
    std::vector<Fd> open_files;
    const auto add = [&](pike_credential_kind kind, const std::filesystem::path& path) -> Status {
        auto fd = open_guarded(path, kind == PIKE_PRIVATE_KEY);
        if (!fd)
            return tl::unexpected(fd.error());
        out.credentials.push_back({.kind = kind, .fd = fd->get()});
        open_files.push_back(std::move(*fd));
        return {};
    };
    for (const auto& ca : config_.ca)
        if (auto ok = add(PIKE_CA, ca); !ok)
            return ok;
    if (auto ok = add(PIKE_CERTIFICATE, config_.certificate); !ok)
        return ok;
    if (auto ok = add(PIKE_PRIVATE_KEY, config_.private_key); !ok)
        return ok;
    for (std::uint32_t i = 0; i < config_.tunnels.size(); i++) {
        const auto& tunnel = config_.tunnels[i];
        IkeTunnel one;
        one.name = tunnel.name;
        one.peer = tunnel.peer;
        one.local_id = tunnel.local_id;
        one.remote_id = tunnel.remote_id;
        one.local_networks = tunnel.local_networks;
        one.remote_networks = tunnel.remote_networks;
        one.ike_proposal = tunnel.ike_proposal;
        one.esp_proposal = tunnel.esp_proposal;
        one.reqid = i + 1;
        one.ike_rekey = tunnel.ike_rekey;
        one.child_rekey = tunnel.child_rekey;
        one.dpd = tunnel.dpd;
        one.initiate = !tunnels_[i].taken_down;
        out.tunnels.push_back(std::move(one));
    }
    return server_->configure(out);
}

// The channel said something no penstock-ike says, or closed: end the process, its exit brings the next one.
void IkeSupervisor::serve(Status (IkeServer::*what)(int), int budget) {
    if (!server_)
        return;
    if (auto ok = ((*server_).*what)(budget); !ok && process_) {
        events_.add(log::Level::error, "ike_channel", {{"why", ok.error().message()}});
        requests_ = {};
        events_source_ = {};
        kill(process_->pid(), SIGKILL);
    }
}

void IkeSupervisor::died(const std::string& how) {
    events_.add(log::Level::error, "ike_died", {{"how", how}, {"pid", process_->pid()}});
    process_->reaped();
    requests_ = {};
    events_source_ = {};
    child_ = {};
    server_.reset();
    process_.reset();
    for (auto& tunnel : tunnels_)
        tunnel.ike = "down";
    ipsec_.ike_gone();
    callbacks_.gone();
    if (Clock::now() - started_ > kStable)
        backoff_ = {};
    start_later();
}

void IkeSupervisor::start_later() {
    auto timer = loop_.after(backoff_, [this] { start(); });
    backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
    if (timer)
        restart_ = std::move(*timer);
    else
        events_.add(log::Level::error, "ike_start_failed", {{"why", timer.error().message()}});
}

Status IkeSupervisor::command(pike_command_kind kind, std::uint32_t tunnel) {
    if (!server_)
        return fail("penstock-ike is not running");
    return server_->command(kind, config_.tunnels[tunnel].name);
}

Status IkeSupervisor::bring_up(std::uint32_t tunnel) {
    tunnels_[tunnel].taken_down = false;
    ipsec_.allow_tunnel(tunnel, true);
    return command(PIKE_INITIATE, tunnel);
}

Status IkeSupervisor::take_down(std::uint32_t tunnel) {
    tunnels_[tunnel].taken_down = true;
    auto status = command(PIKE_TERMINATE, tunnel);
    // Whether or not the peer answers.
    ipsec_.allow_tunnel(tunnel, false);
    ipsec_.drop_tunnel(tunnel);
    return status;
}

Status IkeSupervisor::rekey(std::uint32_t tunnel) { return command(PIKE_REKEY_CHILD, tunnel); }

Status IkeSupervisor::acquire(std::uint32_t reqid) { return server_ ? server_->acquire(reqid) : Status{}; }

Status IkeSupervisor::expire(const IpAddress& destination, std::uint32_t spi, bool hard) {
    return server_ ? server_->expire(destination, htonl(spi), hard) : Status{};
}

Status IkeSupervisor::mapping(const net::Mapping& mapping) {
    if (!server_)
        return {};
    return server_->mapping(to_pike(mapping.id.destination), to_pike(mapping.new_source, mapping.new_port),
                            htonl(mapping.id.spi));
}

void IkeSupervisor::hello(const pike_hello& event, Fd tun) {
    if (std::exchange(greeted_, true))
        return; // once a process
    version_ = event.strongswan;
    if (!event.ipv4 && !event.ipv6)
        events_.add(log::Level::error, "ike_has_no_socket",
                    {{"mend", "stop the other IKE daemon on UDP 500 and 4500, if there is one"}});
    events_.add(log::Level::info, "ike_ready", {{"strongswan", version_}});
    callbacks_.ready(tun);
}

void IkeSupervisor::log_line(const pike_log& event) {
    log::debug("ike_log", {{"group", event.group}, {"text", event.text}});
}

TunnelState* IkeSupervisor::find(const char* name) {
    for (std::size_t i = 0; i < tunnels_.size(); i++)
        if (config_.tunnels[i].name == name)
            return &tunnels_[i];
    return nullptr;
}

void IkeSupervisor::tunnel_event(const pike_tunnel_event& event) {
    auto* tunnel = find(event.tunnel);
    if (tunnel == nullptr)
        return;
    switch (event.state) {
    case PIKE_IKE_CONNECTING:
        tunnel->ike = "connecting";
        tunnel->new_attempt = true;
        break;
    case PIKE_IKE_UP:
        tunnel->ike = "up";
        break;
    case PIKE_IKE_DOWN:
        tunnel->ike = "down";
        break;
    case PIKE_CHILD_UP:
    case PIKE_CHILD_REKEYED:
        tunnel->spi_in = ntohl(event.spi_in_be);
        tunnel->spi_out = ntohl(event.spi_out_be);
        tunnel->cipher = event.cipher;
        tunnel->encapsulated = event.encapsulated;
        tunnel->since = Clock::now();
        tunnel->rekey_at.reset();
        if (event.rekey_seconds != 0)
            tunnel->rekey_at = Clock::now() + std::chrono::seconds(event.rekey_seconds);
        tunnel->trouble.clear();
        tunnel->said.clear();
        break;
    default:
        break;
    }
}

void IkeSupervisor::alert(const pike_alert& event) {
    // The first of an attempt is nearest to the cause; what follows says what came of it. It tries again every few
    // seconds, so each is told once until the tunnel is up.
    if (auto* tunnel = find(event.tunnel); tunnel != nullptr) {
        if (std::exchange(tunnel->new_attempt, false))
            tunnel->trouble.clear();
        if (tunnel->trouble.find(event.text) == std::string::npos && tunnel->trouble.size() < kLongestTrouble)
            tunnel->trouble += (tunnel->trouble.empty() ? "" : "; ") + std::string(event.text);
        if (tunnel->said.size() >= kMostSaid || !tunnel->said.insert(event.text).second)
            return;
    }
    // A hijacked process may tell as many as it can; the journal and the events kept are not its to fill.
    if (const auto now = Clock::now(); now - alerts_since_ >= std::chrono::seconds(1)) {
        alerts_since_ = now;
        alerts_ = 0;
    }
    if (alerts_++ >= kAlertsASecond)
        return;
    events_.add(log::Level::warning, "ike_alert", {{"tunnel", event.tunnel}, {"why", event.text}});
}

} // namespace penstock::core
