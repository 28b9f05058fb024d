#include "agent/core/agent.hpp"

#include "agent/base/file.hpp"
#include "agent/core/machine.hpp"
#include "agent/core/preflight.hpp"
#include "agent/core/state.hpp"

#include <filesystem>
#include <sys/epoll.h>
#include <utility>

namespace penstock::core {
namespace {

constexpr auto kTick = std::chrono::seconds(1);
constexpr auto kFresh = std::chrono::milliseconds(100); // what is said about the gate is not older
// Netlink tells of one change in several messages.
constexpr auto kSettle = std::chrono::milliseconds(10);

} // namespace

Agent::Agent(Config config, EventLoop& loop, Privacy privacy)
    : config_(std::move(config)), loop_(loop), privacy_(std::move(privacy)), state_(config_.state, config_.storage) {}
Agent::~Agent() {
    // Their jobs touch the other members; after this none runs. What the last one did is audited.
    if (worker_)
        worker_->finish();
    worker_.reset();
    audit_.reset();
}

Status Agent::choose_esp() {
    bool user = config_.esp == EspMode::user;
    if (config_.esp != EspMode::user) {
        const auto kernel = net::kernel_has_esp();
        if (!kernel)
            return fail("cannot find out whether the kernel has ESP", Error(kernel.error()));
        if (!*kernel && config_.esp == EspMode::kernel)
            return fail("[ike] esp is \"kernel\", but this kernel has no ESP; use \"auto\" or \"user\"");
        user = !*kernel;
    }
    ipsec_->set_mode(user);
    events_.add(log::Level::info, "esp", {{"mode", user ? "user" : "kernel"}});
    return guard_->set_esp(user);
}

Status Agent::start() {
    auto ok = check_bpf();
    if (ok)
        ok = check_xfrm();
    if (ok)
        ok = close_gate();
    if (!ok) {
        if (auto shut = shut_forwarding(config_); !shut)
            return fail(ok.error().message() + "; and forwarding cannot be switched off: " + shut.error().message());
        return fail("the gate cannot be put up, so the LAN's forwarding is switched off", std::move(ok.error()));
    }
    return begin();
}

Status Agent::close_gate() {
    std::error_code error;
    std::filesystem::create_directories(config_.state, error);
    if (error)
        return fail_errno("cannot make the state folder " + config_.state.string(), error.value());
    auto worker = Worker::make(loop_);
    if (!worker)
        return tl::unexpected(worker.error());
    worker_ = std::move(*worker);
    auto guard = Guard::make(config_, events_, repairs_, state_);
    if (!guard)
        return tl::unexpected(guard.error());
    guard_ = std::move(*guard);
    open_state(); // ours alone, now that the guard is
    take_privacy_key();
    auto audit = Audit::make(loop_, events_, state_, config_.audit);
    if (!audit)
        return tl::unexpected(audit.error());
    audit_ = std::move(*audit);
    say_state();
    ipsec_ = std::make_unique<Ipsec>(config_, guard_->marks(), events_, guard_->gate(), [this] { reconcile_soon(); });
    policies_ =
        std::make_unique<PolicyManager>(config_, *worker_, events_, guard_->policies(), guard_->counters(), state_);
    ike_ = std::make_unique<IkeSupervisor>(
        config_, loop_, events_, *ipsec_,
        IkeSupervisor::Callbacks{.ready =
                                     [this](const Fd& tun) {
                                         if (auto ok = guard_->set_esp(ipsec_->user_esp(), tun); !ok)
                                             events_.add(log::Level::error, "gate_problem",
                                                         {{"why", ok.error().message()}});
                                         reconcile();
                                     },
                                 .gone = [this] { reconcile_soon(); }});
    if (auto ok = choose_esp(); !ok)
        return ok;
    // A gate that cannot close is said, and tried again: an interface may come later, and nothing is forwarded
    // meanwhile.
    reconcile();
    return {};
}

// Without its key the gate is closed all the same, and no policy is in force.
void Agent::open_state() {
    const auto opened = core::open_state(state_, config_.audit);
    for (const auto& why : state_.warnings())
        events_.add(log::Level::warning, "state_problem", {{"why", why}});
    if (!opened)
        state_problem_ = opened.error().message();
}

// Pseudonyms stay the same over restarts. Without the folder they are this run's alone.
void Agent::take_privacy_key() {
    const auto kept = state_.recall(kPrivacyKey);
    const auto key = kept && kept->is_string() ? store::Key::from_hex(kept->get_ref<const std::string&>()) : fail("");
    if (key)
        return privacy_.set_key(*key);
    auto text = store::hex(privacy_.key().bytes());
    if (const auto ok = kept ? state_.keep(kPrivacyKey, text) : tl::unexpected(kept.error());
        !ok && state_problem_.empty())
        events_.add(log::Level::warning, "state_problem",
                    {{"why", "pseudonyms will be others after the next start: " + ok.error().message()}});
}

void Agent::say_state() {
    for (auto& release : take_unsealed_releases(state_))
        events_.add(log::Level::warning, kReleased, std::move(release));
    if (state_problem_.empty())
        return;
    events_.add(log::Level::error, "state_not_opened",
                {{"why", state_problem_},
                 {"effect", "no policy is in force, and none can be taken"},
                 {"mend", "correct what `why` names, then: systemctl restart penstockd"}});
}

Status Agent::begin() {
    events_.add(log::Level::info, "agent_started", {{"version", PENSTOCK_VERSION}, {"gateway", config_.gateway}});
    for (const auto& why : preflight(config_).wrong)
        events_.add(log::Level::error, "configuration_problem", {{"why", why}});
    if (auto ok = policies_->load_stored(); !ok)
        return ok;
    if (auto ok = ipsec_->adopt(); !ok)
        return fail("cannot take over the SAs in the kernel", std::move(ok.error()));
    reconcile();
    if (auto ok = watch(); !ok)
        return ok;
    ike_->start();
    return {};
}

Status Agent::watch() {
    auto drops = datapath::DropEvents::make(guard_->programs(), [this](const auto& event) { dropped(event); });
    if (!drops)
        return tl::unexpected(drops.error());
    drop_events_.emplace(std::move(*drops));
    auto monitor = net::Monitor::make();
    if (!monitor)
        return tl::unexpected(monitor.error());
    monitor_.emplace(std::move(*monitor));
    auto xfrm = net::XfrmMonitor::make();
    if (!xfrm)
        return tl::unexpected(xfrm.error());
    xfrm_.emplace(std::move(*xfrm));

    const auto keep = [](EventSource& where, Result<EventSource> source) -> Status {
        if (!source)
            return tl::unexpected(source.error());
        where = std::move(*source);
        return {};
    };
    if (auto ok = keep(drop_source_, loop_.on_fd(drop_events_->fd(), EPOLLIN, [this](auto) { drop_events_->read(); }));
        !ok)
        return ok;
    if (auto ok = keep(monitor_source_, loop_.on_fd(monitor_->fd(), EPOLLIN, [this](auto) { network_changed(); })); !ok)
        return ok;
    if (auto ok = keep(xfrm_source_, loop_.on_fd(xfrm_->fd(), EPOLLIN, [this](auto) { xfrm_changed(); })); !ok)
        return ok;
    return keep(tick_, loop_.every(kTick, [this] { tick(); }));
}

void Agent::network_changed() {
    const auto changes = monitor_->drain();
    if (!changes)
        events_.add(log::Level::error, "netlink_failed", {{"why", changes.error().message()}});
    if (!changes || changes->any())
        reconcile_soon();
}

void Agent::xfrm_changed() {
    const auto batch = xfrm_->drain();
    if (!batch) {
        events_.add(log::Level::error, "netlink_failed", {{"why", batch.error().message()}});
        return reconcile_soon();
    }
    for (const auto& event : batch->events) {
        Status told;
        if (const auto* acquire = std::get_if<net::Acquire>(&event)) {
            if (acquire->reqid >= 1 && acquire->reqid <= config_.tunnels.size())
                told = ike_->acquire(acquire->reqid);
        } else if (const auto* expire = std::get_if<net::Expire>(&event)) {
            told = ike_->expire(expire->id.destination, expire->id.spi, expire->hard);
            ipsec_->expired(expire->id, expire->hard);
        } else if (const auto* mapping = std::get_if<net::Mapping>(&event)) {
            told = ike_->mapping(*mapping);
        } else if (std::holds_alternative<net::SasGone>(event)) {
            find_lost_sas();
        } else {
            reconcile_soon();
        }
        if (!told)
            events_.add(log::Level::warning, "ike_channel", {{"why", told.error().message()}});
    }
    if (batch->overrun)
        reconcile_soon();
}

// Somebody else may have flushed SAs; of a flush nobody is told which.
void Agent::find_lost_sas() {
    for (const auto& id : ipsec_->lost(repairs_))
        if (auto ok = ike_->expire(id.destination, id.spi, true); !ok)
            events_.add(log::Level::warning, "ike_channel", {{"why", ok.error().message()}});
}

void Agent::reconcile() {
    soon_ = {};
    if (released_)
        return;
    looked_at_ = std::chrono::steady_clock::now();
    // What is wrong is an event and stays in the status; the next change or tick tries again.
    (void)guard_->reconcile();
    look_at_uplinks();
    ipsec_->set_local_addresses(guard_->uplink_addresses());
    ipsec_->mend(repairs_);
    repairs_.tell();
}

void Agent::look_again() {
    if (std::chrono::steady_clock::now() - looked_at_ > kFresh)
        reconcile();
}

// libcharon takes an interface that leaves a bridge for one that is gone, and hears nothing from there ever after.
void Agent::look_at_uplinks() {
    const auto before = std::exchange(enslaved_, guard_->enslaved_uplinks());
    for (const auto& name : before)
        if (!enslaved_.contains(name))
            return ike_->restart("uplink " + name + " is no longer a port of a bridge or bond");
}

void Agent::reconcile_soon() {
    if (soon_)
        return;
    if (auto timer = loop_.after(kSettle, [this] { reconcile(); }))
        soon_ = std::move(*timer);
}

void Agent::tick() {
    events_.forget_old();
    ipsec_->sweep();
    find_lost_sas();
    ike_->check_alive();
    policies_->check_expiry();
    policies_->check_circumstances();
    watch_push();
    if (ike_->credentials_changed())
        renew_credentials();
    reconcile();
}

// Devices may be well at any moment; of tunnels it must be so when the time is over, for a policy takes none down at
// once.
void Agent::watch_push() {
    const auto* push = policies_->pending();
    if (push == nullptr)
        return;
    if (!push_watch_ || !push_watch_->is_about(*push))
        push_watch_.emplace(*push, [this](const std::string& device) { return traffic(device); });
    const auto missing = push_misses();
    const bool over = policies_->pending_is_over();
    if (missing.empty() && (over || !push->probes.empty()))
        return policies_->confirm();
    if (!over)
        return;
    std::string why;
    for (const auto& one : missing)
        why += (why.empty() ? "" : ", ") + one;
    policies_->go_back(why);
}

void Agent::dropped(const datapath::Drop& drop) {
    nlohmann::json fields = {{"reason", drop.reason},       {"hook", drop.hook},
                             {"source", drop.source.str()}, {"destination", drop.destination.str()},
                             {"protocol", drop.proto},      {"interface", drop.ifindex}};
    if (drop.slot && drop.reason == "not_learnt") {
        const auto learnt = policies_->claim(*drop.slot, drop.mac, drop.source, drop.ifindex);
        if (learnt)
            return; // the event of its own says more
        fields["why"] = learnt.error().message();
    }
    if (const auto name = drop.slot ? policies_->device_name(*drop.slot) : ""; !name.empty())
        fields["device"] = name;
    else
        fields["mac"] = drop.mac.str();
    if (drop.destination_port != 0)
        fields["port"] = drop.destination_port;
    events_.add_drop(std::move(fields));
}

} // namespace penstock::core
