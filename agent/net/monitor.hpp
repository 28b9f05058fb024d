// Says that links, addresses, routes, rules, tc's hooks or announced sysctls changed, so that core can compare and put
// back. What changed is read anew: notifications may be lost, the tables may not.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

namespace penstock::net {

struct Changes {
    bool links = false;
    bool addresses = false;
    bool routes = false;
    bool rules = false;
    bool hooks = false;   // qdiscs and filters of tc; tcx announces nothing
    bool sysctls = false; // forwarding, rp_filter, mc_forwarding and the few others that the kernel announces
    bool overrun = false; // notifications were lost: the others are then true
    [[nodiscard]] bool any() const { return links || addresses || routes || rules || hooks || sysctls; }
};

class Monitor {
public:
    // Watches the network namespace of the calling thread, both address families.
    static Result<Monitor> make();
    // Readable when drain() has something; never blocks; owned by the monitor.
    [[nodiscard]] int fd() const { return fd_.get(); }
    // Takes what has queued up, at most some hundred datagrams; the fd stays readable if there is more.
    Result<Changes> drain();

private:
    explicit Monitor(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

} // namespace penstock::net
