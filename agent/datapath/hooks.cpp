#include "agent/datapath/hooks.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <charconv>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::datapath {
namespace {

// linux/bpf.h of kernel 6.6; Debian 12's headers do not have them.
constexpr std::uint32_t kTcxIngress = 46;
constexpr std::uint32_t kTcxEgress = 47;
constexpr std::uint32_t kBefore = 1U << 3; // BPF_F_BEFORE without a relative: first in line

// Ours among clsact filters: a handle nobody else counts up to.
constexpr std::uint32_t kHandle = 0x70656e;
constexpr std::uint32_t kPriority = 1;

// The part of union bpf_attr that BPF_LINK_CREATE reads for tcx.
struct TcxCreate {
    std::uint32_t prog_fd;
    std::uint32_t target_ifindex;
    std::uint32_t attach_type;
    std::uint32_t flags;
    std::uint32_t relative_fd;
    std::uint32_t pad;
    std::uint64_t expected_revision;
};

int create_tcx_link(int program, int ifindex, bool ingress) {
    TcxCreate attr{};
    attr.prog_fd = static_cast<std::uint32_t>(program);
    attr.target_ifindex = static_cast<std::uint32_t>(ifindex);
    attr.attach_type = ingress ? kTcxIngress : kTcxEgress;
    attr.flags = kBefore;
    return static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr));
}

bool ingress(Hook hook) { return hook == Hook::lan_ingress || hook == Hook::uplink_ingress; }

bpf_tc_hook clsact_hook(Hook hook, int ifindex) {
    bpf_tc_hook out{};
    out.sz = sizeof out;
    out.ifindex = ifindex;
    out.attach_point = ingress(hook) ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return out;
}

bpf_tc_opts clsact_filter() {
    bpf_tc_opts out{};
    out.sz = sizeof out;
    out.handle = kHandle;
    out.priority = kPriority;
    return out;
}

std::uint32_t program_id(int program) {
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    return bpf_obj_get_info_by_fd(program, &info, &size) == 0 ? info.id : 0;
}

// Interface 0 does not exist: a kernel with tcx says so (ENODEV), one without it does not know the attach type
// (EINVAL).
bool kernel_has_tcx() {
    const bpf_insn pass[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = -1},
                             {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "penstock_probe", "GPL", pass, 2, nullptr));
    if (!program)
        return false;
    const Fd link(create_tcx_link(program.get(), 0, true));
    return errno == ENODEV;
}

} // namespace

Result<Hooks> Hooks::make(const std::filesystem::path& bpffs) {
    Hooks out;
    out.folder_ = bpffs / "links";
    std::error_code error;
    std::filesystem::create_directories(out.folder_, error);
    if (error)
        return fail_errno("cannot make " + out.folder_.string(), error.value());
    out.tcx_ = kernel_has_tcx();
    return out;
}

std::filesystem::path Hooks::pin(Hook hook, int ifindex) const {
    return folder_ / (std::to_string(ifindex) + "-" + hook_name(hook));
}

Status Hooks::attach(const Programs& programs, Hook hook, int ifindex) {
    const int program = programs.program_fd(hook);
    auto ok = tcx_ ? attach_tcx(program, hook, ifindex) : attach_clsact(program, hook, ifindex);
    if (!ok)
        return fail(std::string("cannot attach ") + hook_name(hook) + " to interface " + std::to_string(ifindex),
                    std::move(ok.error()));
    return {};
}

Status Hooks::attach_tcx(int program, Hook hook, int ifindex) {
    const auto path = pin(hook, ifindex);
    const Fd old(bpf_obj_get(path.c_str()));
    if (old && bpf_link_update(old.get(), program, nullptr) == 0)
        return {};
    // No pin, or the pin of an interface that is gone and whose index came back.
    const Fd link(create_tcx_link(program, ifindex, ingress(hook)));
    if (!link)
        return fail_errno("tcx");
    std::error_code error;
    std::filesystem::remove(path, error);
    if (bpf_obj_pin(link.get(), path.c_str()) != 0)
        return fail_errno("cannot pin " + path.string());
    return {};
}

Status Hooks::attach_clsact(int program, Hook hook, int ifindex) {
    auto where = clsact_hook(hook, ifindex);
    if (const int error = bpf_tc_hook_create(&where); error != 0 && error != -EEXIST)
        return fail_errno("clsact", -error);
    auto filter = clsact_filter();
    filter.prog_fd = program;
    filter.flags = BPF_TC_F_REPLACE;
    if (const int error = bpf_tc_attach(&where, &filter); error != 0)
        return fail_errno("clsact filter", -error);
    return {};
}

Status Hooks::detach(Hook hook, int ifindex) {
    if (tcx_) {
        std::error_code error;
        std::filesystem::remove(pin(hook, ifindex), error);
        if (error)
            return fail_errno("cannot remove " + pin(hook, ifindex).string(), error.value());
        return {};
    }
    auto where = clsact_hook(hook, ifindex);
    auto filter = clsact_filter();
    if (const int error = bpf_tc_detach(&where, &filter); error != 0 && error != -ENOENT && error != -EINVAL)
        return fail_errno("cannot take the clsact filter away", -error);
    return {};
}

bool Hooks::attached(const Programs& programs, Hook hook, int ifindex) const {
    const auto wanted = program_id(programs.program_fd(hook));
    if (tcx_) {
        const Fd link(bpf_obj_get(pin(hook, ifindex).c_str()));
        bpf_link_info info{};
        std::uint32_t size = sizeof info;
        if (!link || bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0 || info.prog_id != wanted)
            return false;
        // tcx {ifindex, attach_type} stands first in the link's own part; ifindex 0: the interface is gone.
        std::uint32_t where = 0;
        static_assert(sizeof info.raw_tracepoint >= sizeof where);
        std::copy_n(reinterpret_cast<const char*>(&info.raw_tracepoint), sizeof where, reinterpret_cast<char*>(&where));
        return where == static_cast<std::uint32_t>(ifindex);
    }
    auto where = clsact_hook(hook, ifindex);
    auto filter = clsact_filter();
    return bpf_tc_query(&where, &filter) == 0 && filter.prog_id == wanted;
}

void Hooks::forget_absent(const std::vector<int>& present) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        const auto name = entry.path().filename().string();
        int ifindex = 0;
        std::from_chars(name.data(), name.data() + name.size(), ifindex);
        if (std::find(present.begin(), present.end(), ifindex) == present.end())
            std::filesystem::remove(entry.path(), error);
    }
}

} // namespace penstock::datapath
