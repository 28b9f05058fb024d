// What is kept for good of the events: who changed what. Written by a thread of its own: neither the loop nor a change
// of policy waits for it.
#pragma once

#include "agent/base/worker.hpp"
#include "agent/core/event_log.hpp"
#include "agent/store/audit_log.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>

namespace penstock::core {

class Audit {
public:
    // Records events from now on. If the folder is not open, each record fails, and trouble() says so.
    static Result<std::unique_ptr<Audit>> make(EventLoop& loop, EventLog& events, store::SealedFolder& folder,
                                               const store::AuditLog::Limits& limits);
    ~Audit(); // writes what waits
    Audit(const Audit&) = delete;
    Audit& operator=(const Audit&) = delete;

    struct Wanted {
        std::size_t last = 0; // the newest so many of those that fit; 0: none, the report alone
        std::string event;    // empty: any
        std::string since;    // RFC 3339 in UTC without its Z, or the beginning of one; empty: always
        store::AuditLog::Expected expected;
    };
    struct Read {
        Result<store::AuditLog::Report> report = fail("");
        std::deque<nlohmann::json> records; // oldest first
    };
    // One at a time, for it reads the whole log.
    void read(const Wanted& wanted, std::function<void(const Read&)> done);

    // Whether an event that this user causes now would be kept.
    [[nodiscard]] Status will_keep(uid_t uid) const;

    // What is wrong with the log; empty: nothing known.
    [[nodiscard]] const std::string& trouble() const { return trouble_; }

private:
    using Clock = std::chrono::steady_clock;
    Audit(EventLog& events, store::SealedFolder& folder, const store::AuditLog::Limits& limits)
        : events_(events), log_(folder, limits) {}
    void take(const nlohmann::json& event);
    [[nodiscard]] bool admit(const nlohmann::json& event);
    void write(nlohmann::json record);

    EventLog& events_;
    store::AuditLog log_; // the worker's
    std::unique_ptr<Worker> worker_;
    std::uint64_t follower_ = 0;
    std::string trouble_;
    std::size_t waiting_ = 0; // records
    bool reading_ = false;
    // Token bucket for events that users other than root can cause: 100 at once, then one in 30 s.
    unsigned tokens_ = 0;
    Clock::time_point next_refill_;
    std::uint64_t not_kept_ = 0;
};

// Whether the log keeps events of this name.
bool is_audited(std::string_view event);

} // namespace penstock::core
