#include "agent/base/worker.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace penstock {

Result<std::unique_ptr<Worker>> Worker::make(EventLoop& loop) {
    std::unique_ptr<Worker> worker(new Worker);
    worker->wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!worker->wake_)
        return fail_errno("eventfd");
    auto source = loop.on_fd(worker->wake_.get(), EPOLLIN, [raw = worker.get()](std::uint32_t) { raw->deliver(); });
    if (!source)
        return tl::unexpected(source.error());
    worker->source_ = std::move(*source);
    worker->thread_ = std::thread([raw = worker.get()] { raw->work(); });
    return worker;
}

Worker::~Worker() { stop(); }

void Worker::stop() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable())
        thread_.join();
}

void Worker::finish() {
    stop();
    deliver();
}

void Worker::drain() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return jobs_.empty() && !busy_; });
}

void Worker::post(Task job, Task done) {
    {
        const std::lock_guard lock(mutex_);
        jobs_.emplace_back(std::move(job), std::move(done));
    }
    changed_.notify_one();
}

void Worker::work() {
    for (;;) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
        if (stop_)
            return;
        auto [job, done] = std::move(jobs_.front());
        jobs_.pop_front();
        busy_ = true;
        lock.unlock();
        job();
        lock.lock();
        busy_ = false;
        done_.push_back(std::move(done));
        lock.unlock();
        idle_.notify_all();
        const std::uint64_t one = 1;
        // Cannot fail: the counter would have to reach 2^64.
        [[maybe_unused]] const auto written = write(wake_.get(), &one, sizeof one);
    }
}

void Worker::deliver() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(wake_.get(), &count, sizeof count);
    std::deque<Task> ready;
    {
        const std::lock_guard lock(mutex_);
        ready.swap(done_);
    }
    for (const auto& done : ready)
        done();
}

} // namespace penstock
