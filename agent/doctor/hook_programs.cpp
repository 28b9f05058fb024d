#include "agent/doctor/hook_programs.hpp"

#include "agent/base/fd.hpp"
#include "agent/doctor/tool.hpp"

#include <array>
#include <bpf/bpf.h>
#include <cerrno>
#include <linux/bpf.h>
#include <sys/syscall.h>

namespace penstock::doctor {
namespace {

// linux/bpf.h of kernel 6.6; Debian 12's headers do not have them.
constexpr std::uint32_t kTcxIngress = 46, kTcxEgress = 47;

// The part of union bpf_attr that BPF_PROG_QUERY reads and writes for tcx.
struct TcxQuery {
    std::uint32_t ifindex, attach_type, query_flags, attach_flags;
    std::uint64_t program_ids;
    std::uint32_t count, pad;
    std::uint64_t program_flags, link_ids, link_flags, revision;
};

std::string name_of(std::uint32_t id) {
    const Fd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0)
        return "program " + std::to_string(id);
    return info.name;
}

// ENOENT: nothing there; EINVAL: the kernel has no tcx.
int query(int ifindex, Side side, std::array<std::uint32_t, 64>& ids, std::uint32_t& count) {
    TcxQuery attr{};
    attr.ifindex = static_cast<std::uint32_t>(ifindex);
    attr.attach_type = side == Side::ingress ? kTcxIngress : kTcxEgress;
    attr.program_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    attr.count = ids.size();
    if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof attr) != 0)
        return errno;
    count = attr.count;
    return 0;
}

// `tc filter show` lists by priority, as the kernel walks them.
Status add_filters(const std::string& interface, Side side, std::vector<HookProgram>& out) {
    const auto filters =
        ask_tool({"tc", "-j", "filter", "show", "dev", interface, side == Side::ingress ? "ingress" : "egress"});
    if (!filters)
        return tl::unexpected(filters.error());
    if (!filters->is_array())
        return {};
    for (const auto& filter : *filters) {
        const auto options = filter.find("options"); // the line without them only heads a priority
        if (options == filter.end() || !options->is_object())
            continue;
        const auto name = options->value("bpf_name", filter.value("kind", "?"));
        out.push_back({.name = name.substr(0, name.find(':')), .tcx = false});
    }
    return {};
}

} // namespace

bool kernel_has_tcx() {
    std::array<std::uint32_t, 64> ids{};
    std::uint32_t count = 0;
    return query(1, Side::ingress, ids, count) != EINVAL;
}

Result<std::vector<HookProgram>> hook_programs(const std::string& interface, int ifindex, Side side) {
    std::vector<HookProgram> out;
    std::array<std::uint32_t, 64> ids{};
    std::uint32_t count = 0;
    const int error = query(ifindex, side, ids, count);
    if (error != 0 && error != ENOENT && error != EINVAL)
        return fail_errno("cannot ask which programs run on " + interface, error);
    for (std::uint32_t i = 0; error == 0 && i < count && i < ids.size(); i++)
        out.push_back({.name = name_of(ids.at(i)), .tcx = true});
    if (auto ok = add_filters(interface, side, out); !ok)
        return tl::unexpected(ok.error());
    return out;
}

} // namespace penstock::doctor
