// Starts penstock-ike with nothing but the two sockets of channel.h and the capabilities its ESP mode needs.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <string>
#include <sys/types.h>

namespace penstock {

struct IkeLaunch {
    std::string program; // absolute path of penstock-ike
    uid_t uid = 0;       // not 0
    gid_t gid = 0;
    bool user_esp = false; // adds CAP_NET_ADMIN, which penstock-ike gives up once its TUN exists
};

// A running penstock-ike. Ending it, also by this destructor, leaves the SAs and the peers' state as they are.
class IkeProcess {
public:
    // Call on a thread that lives as long as the process should: the kernel kills it when that thread ends
    // (PR_SET_PDEATHSIG). The caller reaps pid(). Needs CAP_SETUID, CAP_SETGID, CAP_SETPCAP and what the child gets.
    static Result<IkeProcess> spawn(const IkeLaunch& launch);

    IkeProcess(IkeProcess&& other) noexcept;
    IkeProcess& operator=(IkeProcess&& other) noexcept;
    IkeProcess(const IkeProcess&) = delete;
    IkeProcess& operator=(const IkeProcess&) = delete;
    ~IkeProcess(); // SIGKILL unless reaped

    [[nodiscard]] pid_t pid() const { return pid_; }
    void reaped() { pid_ = -1; } // the caller has waited for it

    // Our ends, non-blocking; for IkeServer.
    Fd requests;
    Fd events;

private:
    IkeProcess(pid_t pid, Fd requests_end, Fd events_end)
        : requests(std::move(requests_end)), events(std::move(events_end)), pid_(pid) {}
    pid_t pid_;
};

} // namespace penstock
