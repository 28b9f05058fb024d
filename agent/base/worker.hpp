// One thread for what takes longer than the guard loop may wait: verifying, compiling, storing. Jobs run one after the
// other; what follows a job runs back on the loop.
#pragma once

#include "agent/base/event_loop.hpp"
#include "agent/base/fd.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace penstock {

class Worker {
public:
    using Task = std::function<void()>;

    static Result<std::unique_ptr<Worker>> make(EventLoop& loop);
    ~Worker(); // jobs that have not begun are dropped

    // No job begins any more; waits for the one that runs, and delivers. To be called on the loop's thread.
    void finish();
    // Blocks until every posted job has run; what follows them (`done`) may still be waiting for the loop.
    void drain();
    // job runs on the thread, then done on the loop.
    void post(Task job, Task done);

private:
    Worker() = default;
    void work();
    void stop();
    void deliver();

    Fd wake_; // eventfd, readable when done_ is not empty
    EventSource source_;
    std::mutex mutex_;
    std::condition_variable changed_, idle_;
    std::deque<std::pair<Task, Task>> jobs_;
    std::deque<Task> done_;
    bool stop_ = false, busy_ = false;
    std::thread thread_;
};

} // namespace penstock
