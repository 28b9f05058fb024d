#include "agent/base/event_loop.hpp"

#include <csignal>
#include <systemd/sd-event.h>

#include <sys/wait.h>

namespace penstock {

struct EventSource::State {
    sd_event_source* source = nullptr;
    std::function<void(std::uint32_t)> on_io;
    std::function<void()> on_event;
    std::function<void(int, int)> on_exit;
    std::uint64_t period_us = 0;
    ~State() {
        if (source) {
            sd_event_source_set_enabled(source, SD_EVENT_OFF);
            sd_event_source_unref(source);
        }
    }
};

namespace {

using State = EventSource::State;

int io_ready(sd_event_source*, int, std::uint32_t events, void* data) {
    // A copy: the callback may destroy its own source.
    auto callback = static_cast<State*>(data)->on_io;
    callback(events);
    return 0;
}

int time_reached(sd_event_source* source, std::uint64_t, void* data) {
    auto* state = static_cast<State*>(data);
    if (state->period_us) {
        sd_event_source_set_time_relative(source, state->period_us);
        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    auto callback = state->on_event;
    callback();
    return 0;
}

int signal_arrived(sd_event_source*, const signalfd_siginfo*, void* data) {
    auto callback = static_cast<State*>(data)->on_event;
    callback();
    return 0;
}

int child_exited(sd_event_source*, const siginfo_t* info, void* data) {
    auto callback = static_cast<State*>(data)->on_exit;
    callback(info->si_code, info->si_status);
    return 0;
}

} // namespace

EventSource::EventSource(std::unique_ptr<State> state) : state_(std::move(state)) {}
EventSource::EventSource() noexcept = default;
EventSource::EventSource(EventSource&&) noexcept = default;
EventSource& EventSource::operator=(EventSource&&) noexcept = default;
EventSource::~EventSource() = default;

Result<std::unique_ptr<EventLoop>> EventLoop::make() {
    // on_child needs SIGCHLD blocked in every thread before the first child exists.
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &mask, nullptr) != 0)
        return fail_errno("cannot block SIGCHLD");
    sd_event* loop = nullptr;
    if (const int r = sd_event_new(&loop); r < 0)
        return fail_errno("cannot create the event loop", -r);
    return std::unique_ptr<EventLoop>(new EventLoop(loop));
}

EventLoop::~EventLoop() { sd_event_unref(loop_); }

Result<EventSource> EventLoop::on_fd(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback) {
    auto state = std::make_unique<State>();
    state->on_io = std::move(callback);
    if (const int r = sd_event_add_io(loop_, &state->source, fd, events, io_ready, state.get()); r < 0)
        return fail_errno("cannot watch a file descriptor", -r);
    return EventSource(std::move(state));
}

Result<EventSource> EventLoop::after(Millis delay, std::function<void()> callback) {
    auto state = std::make_unique<State>();
    state->on_event = std::move(callback);
    const auto us = static_cast<std::uint64_t>(std::chrono::microseconds(delay).count());
    if (const int r =
            sd_event_add_time_relative(loop_, &state->source, CLOCK_MONOTONIC, us, 1000, time_reached, state.get());
        r < 0)
        return fail_errno("cannot set a timer", -r);
    return EventSource(std::move(state));
}

Result<EventSource> EventLoop::every(Millis period, std::function<void()> callback) {
    auto state = std::make_unique<State>();
    state->on_event = std::move(callback);
    state->period_us = static_cast<std::uint64_t>(std::chrono::microseconds(period).count());
    if (const int r = sd_event_add_time_relative(loop_, &state->source, CLOCK_MONOTONIC, state->period_us, 1000,
                                                 time_reached, state.get());
        r < 0)
        return fail_errno("cannot set a timer", -r);
    return EventSource(std::move(state));
}

Result<EventSource> EventLoop::on_signal(int signal, std::function<void()> callback) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, signal);
    if (sigprocmask(SIG_BLOCK, &mask, nullptr) != 0)
        return fail_errno("cannot block a signal");
    auto state = std::make_unique<State>();
    state->on_event = std::move(callback);
    if (const int r = sd_event_add_signal(loop_, &state->source, signal, signal_arrived, state.get()); r < 0)
        return fail_errno("cannot watch a signal", -r);
    return EventSource(std::move(state));
}

Result<EventSource> EventLoop::on_child(pid_t pid, std::function<void(int, int)> callback) {
    auto state = std::make_unique<State>();
    state->on_exit = std::move(callback);
    if (const int r = sd_event_add_child(loop_, &state->source, pid, WEXITED, child_exited, state.get()); r < 0)
        return fail_errno("cannot watch a child process", -r);
    return EventSource(std::move(state));
}

void EventLoop::watch_dog() { sd_event_set_watchdog(loop_, 1); }

Status EventLoop::run() {
    if (const int r = sd_event_loop(loop_); r < 0)
        return fail_errno("the event loop failed", -r);
    return {};
}

void EventLoop::stop() { sd_event_exit(loop_, 0); }

} // namespace penstock
