#include "agent/datapath/tcx.hpp"

#include <algorithm>
#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::datapath {
namespace {

constexpr std::uint32_t kIngress = 46; // BPF_TCX_INGRESS
constexpr std::uint32_t kEgress = 47;
constexpr std::uint32_t kBefore = 1U << 3; // BPF_F_BEFORE without a relative: first in line
constexpr std::uint32_t kMostPrograms = 64;

// The part of union bpf_attr that BPF_LINK_CREATE reads for tcx.
struct Create {
    std::uint32_t prog_fd;
    std::uint32_t target_ifindex;
    std::uint32_t attach_type;
    std::uint32_t flags;
    std::uint32_t relative_fd;
    std::uint32_t pad;
    std::uint64_t expected_revision;
};

// The part that BPF_PROG_QUERY reads and writes.
struct Query {
    std::uint32_t target_ifindex;
    std::uint32_t attach_type;
    std::uint32_t query_flags;
    std::uint32_t attach_flags;
    std::uint64_t prog_ids;
    std::uint32_t count;
    std::uint32_t pad;
    std::uint64_t prog_attach_flags;
    std::uint64_t link_ids;
    std::uint64_t link_attach_flags;
    std::uint64_t revision;
};

// 0, or the errno. links: as many as ids, or null.
int query(int ifindex, bool ingress, std::vector<std::uint32_t>& ids, std::vector<std::uint32_t>* links = nullptr) {
    Query attr{};
    attr.target_ifindex = static_cast<std::uint32_t>(ifindex);
    attr.attach_type = ingress ? kIngress : kEgress;
    attr.prog_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    attr.count = static_cast<std::uint32_t>(ids.size());
    if (links != nullptr) {
        links->assign(ids.size(), 0);
        attr.link_ids = reinterpret_cast<std::uintptr_t>(links->data());
    }
    const int error = syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof attr) == 0 ? 0 : errno;
    ids.resize(error == 0 ? std::min<std::size_t>(attr.count, ids.size()) : error == ENOSPC ? ids.size() : 0);
    return error;
}

} // namespace

// Interface 0 does not exist: a kernel with tcx says so, one without it does not know the attach type.
Result<bool> kernel_has_tcx() {
    std::vector<std::uint32_t> ids(1);
    const int error = query(0, true, ids);
    if (error != ENODEV && error != EINVAL)
        return fail_errno("cannot ask whether the kernel has tcx", error);
    return error == ENODEV;
}

Result<std::vector<std::uint32_t>> tcx_programs(int ifindex, bool ingress) {
    std::vector<std::uint32_t> ids(kMostPrograms);
    const int error = query(ifindex, ingress, ids);
    // ENOSPC: more programs than that; ENOENT: none yet; EINVAL: no tcx.
    if (error != 0 && error != ENOSPC && error != ENOENT && error != EINVAL)
        return fail_errno("cannot ask which programs run on interface " + std::to_string(ifindex), error);
    return ids;
}

void detach_others_of_name(int ifindex, bool ingress, const char* name, std::uint32_t kept) {
    std::vector<std::uint32_t> programs(kMostPrograms), links;
    if (query(ifindex, ingress, programs, &links) != 0)
        return;
    for (std::size_t i = 0; i < programs.size(); i++) {
        const Fd program(bpf_prog_get_fd_by_id(programs[i]));
        bpf_prog_info info{};
        std::uint32_t length = sizeof info;
        if (programs[i] == kept || links[i] == 0 || !program ||
            bpf_obj_get_info_by_fd(program.get(), &info, &length) != 0 || std::strcmp(info.name, name) != 0)
            continue;
        if (const Fd link(bpf_link_get_fd_by_id(links[i])); link)
            (void)bpf_link_detach(link.get()); // one that is gone already is what we want
    }
}

Fd create_tcx_link(int program, int ifindex, bool ingress) {
    Create attr{};
    attr.prog_fd = static_cast<std::uint32_t>(program);
    attr.target_ifindex = static_cast<std::uint32_t>(ifindex);
    attr.attach_type = ingress ? kIngress : kEgress;
    attr.flags = kBefore;
    return Fd(static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr)));
}

} // namespace penstock::datapath
