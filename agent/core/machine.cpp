#include "agent/core/machine.hpp"

#include "agent/base/fd.hpp"
#include "agent/net/sysctl.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace penstock::core {
namespace {

struct Capability {
    int number;
    const char* name;
};
constexpr std::array kForTheGate{Capability{CAP_NET_ADMIN, "CAP_NET_ADMIN"}, Capability{CAP_BPF, "CAP_BPF"},
                                 Capability{CAP_PERFMON, "CAP_PERFMON"}};
// What becoming penstock-ike takes.
constexpr std::array kForIke{Capability{CAP_SETUID, "CAP_SETUID"}, Capability{CAP_SETGID, "CAP_SETGID"},
                             Capability{CAP_SETPCAP, "CAP_SETPCAP"}, Capability{CAP_KILL, "CAP_KILL"},
                             Capability{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"}};

std::string joined(const std::vector<std::string>& list) {
    std::string out;
    for (const auto& one : list)
        out += (out.empty() ? "" : ", ") + one;
    return out;
}

} // namespace

std::vector<std::string> missing_capabilities(Task task) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    syscall(SYS_capget, &header, data.data()); // on failure all are missing
    std::vector<std::string> out;
    const auto look = [&](const Capability& one) {
        if ((data.at(static_cast<std::size_t>(one.number) / 32).effective >> (one.number % 32) & 1U) == 0)
            out.emplace_back(one.name);
    };
    std::ranges::for_each(kForTheGate, look);
    if (task == Task::agent)
        std::ranges::for_each(kForIke, look);
    return out;
}

Status check_capabilities(Task task) {
    const auto missing = missing_capabilities(task);
    if (missing.empty())
        return {};
    return fail((missing.size() == 1 ? "missing capability " : "missing capabilities ") + joined(missing) +
                    "; run penstockd as root, or let its unit keep them (CapabilityBoundingSet=)",
                EPERM);
}

Status check_bpf() {
    bpf_attr attr{};
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = attr.value_size = 4;
    attr.max_entries = 1;
    const Fd map(static_cast<int>(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr)));
    if (map)
        return {};
    if (errno == ENOSYS)
        return fail(
            "this kernel has no BPF, which the gate is made of; boot one with CONFIG_BPF_SYSCALL (Debian's have "
            "it)",
            ENOSYS);
    if (errno == EPERM)
        return fail("bpf(2) is forbidden here although the capability is there (a container's or unit's system call "
                    "filter, or kernel lockdown); allow it",
                    EPERM);
    return fail_errno("bpf(2) does not work");
}

Status check_xfrm() {
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM));
    if (socket)
        return {};
    if (errno == EPROTONOSUPPORT)
        return fail("this kernel has no XFRM (IPsec); boot one with CONFIG_XFRM_USER (Debian's have it)",
                    EPROTONOSUPPORT);
    return fail_errno("cannot open an XFRM socket");
}

Status shut_forwarding(const Config& config) {
    Status first;
    const auto shut = [&first](const std::string& key) {
        auto ok = net::write_sysctl(key, "0");
        if (!ok && ok.error().code() != ENOENT && first)
            first = std::move(ok);
    };
    for (const auto& name : config.lan)
        shut(net::interface_sysctl(AF_INET, name, "forwarding"));
    shut(net::interface_sysctl(AF_INET6, "all", "forwarding"));
    return first;
}

} // namespace penstock::core
