// The guard loop: file descriptors, timers, signals and children on one thread, over sd-event.
#pragma once

#include "agent/base/result.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <sys/types.h>

struct sd_event;
struct sd_event_source;

namespace penstock {

// One registration. Ends when destroyed.
class EventSource {
public:
    struct State;
    EventSource() noexcept;
    explicit EventSource(std::unique_ptr<State> state);
    EventSource(EventSource&&) noexcept;
    EventSource& operator=(EventSource&&) noexcept;
    ~EventSource();
    explicit operator bool() const { return state_ != nullptr; }

private:
    std::unique_ptr<State> state_;
};

class EventLoop {
public:
    using Millis = std::chrono::milliseconds;

    static Result<std::unique_ptr<EventLoop>> make();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // events: EPOLLIN | EPOLLOUT; the fd stays the caller's and must outlive the source.
    Result<EventSource> on_fd(int fd, std::uint32_t events, std::function<void(std::uint32_t)> callback);
    Result<EventSource> after(Millis delay, std::function<void()> callback); // once
    Result<EventSource> every(Millis period, std::function<void()> callback);
    // Blocks the signal for the whole process and delivers it here.
    Result<EventSource> on_signal(int signal, std::function<void()> callback);
    // si_code and si_status as in waitid(2); the child is reaped.
    Result<EventSource> on_child(pid_t pid, std::function<void(int si_code, int si_status)> callback);

    // Keeps systemd's watchdog fed while the loop turns, if the unit has one.
    void watch_dog();
    Status run();
    void stop();

private:
    explicit EventLoop(sd_event* loop) : loop_(loop) {}
    sd_event* loop_;
};

} // namespace penstock
