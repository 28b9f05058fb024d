#include "agent/datapath/hooks.hpp"

#include "agent/datapath/tcx.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

namespace penstock::datapath {
namespace {

// Ours among clsact filters: handles nobody else counts up to. Two, because the kernel puts a new filter of the same
// priority first: to get there again, the second comes before the first goes.
constexpr std::uint32_t kHandles[] = {0x70656e, 0x70656f};
constexpr std::uint32_t kPriority = 1;

// The program that runs first; 0 if there is none, or the kernel does not say.
std::uint32_t first_tcx_program(Hook hook, int ifindex) {
    const auto ids = tcx_programs(ifindex, is_ingress(hook));
    return ids && !ids->empty() ? ids->front() : 0;
}

bpf_tc_hook clsact_hook(Hook hook, int ifindex) {
    bpf_tc_hook out{};
    out.sz = sizeof out;
    out.ifindex = ifindex;
    out.attach_point = is_ingress(hook) ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return out;
}

bpf_tc_opts clsact_filter(std::uint32_t handle) {
    bpf_tc_opts out{};
    out.sz = sizeof out;
    out.handle = handle;
    out.priority = kPriority;
    return out;
}

// The id of the program behind one of our handles, 0 if there is none.
std::uint32_t clsact_program(Hook hook, int ifindex, std::uint32_t handle) {
    auto where = clsact_hook(hook, ifindex);
    auto filter = clsact_filter(handle);
    return bpf_tc_query(&where, &filter) == 0 ? filter.prog_id : 0;
}

Status put_clsact(int program, Hook hook, int ifindex, std::uint32_t handle) {
    auto where = clsact_hook(hook, ifindex);
    auto filter = clsact_filter(handle);
    filter.prog_fd = program;
    filter.flags = BPF_TC_F_REPLACE;
    if (const int error = bpf_tc_attach(&where, &filter); error != 0)
        return fail_errno("clsact filter", -error);
    return {};
}

Status remove_clsact(Hook hook, int ifindex, std::uint32_t handle) {
    auto where = clsact_hook(hook, ifindex);
    auto filter = clsact_filter(handle);
    if (const int error = bpf_tc_detach(&where, &filter); error != 0 && error != -ENOENT && error != -EINVAL)
        return fail_errno("cannot take the clsact filter away", -error);
    return {};
}

// Two instructions that return one value.
Fd load_constant(int value) {
    const bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = value},
                             {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    return Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "penstock_const", "GPL", code, std::size(code), nullptr));
}

std::uint32_t program_id(int program) {
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    return bpf_obj_get_info_by_fd(program, &info, &size) == 0 ? info.id : 0;
}

} // namespace

Result<Hooks> Hooks::make(const std::filesystem::path& bpffs) {
    Hooks out;
    out.folder_ = bpffs / "links";
    std::error_code error;
    std::filesystem::create_directories(out.folder_, error);
    if (error)
        return fail_errno("cannot make " + out.folder_.string(), error.value());
    const auto tcx = kernel_has_tcx();
    if (!tcx)
        return tl::unexpected(tcx.error());
    out.tcx_ = *tcx;
    return out;
}

std::string Hooks::pin_name(Hook hook, int ifindex) const {
    return folder_ / (std::to_string(ifindex) + "-" + hook_name(hook));
}

Fd Hooks::pinned_link(Hook hook, int ifindex) const { return Fd(bpf_obj_get(pin_name(hook, ifindex).c_str())); }

bool Hooks::is_our_filter(std::uint32_t priority, std::uint32_t handle) {
    return priority == kPriority && std::ranges::find(kHandles, handle) != std::end(kHandles);
}

Hooks::State Hooks::state(const Programs& programs, Hook hook, int ifindex) const {
    const auto wanted = program_id(programs.program_fd(hook));
    if (tcx_)
        return state_tcx(wanted, hook, ifindex);
    const bool there = std::ranges::any_of(
        kHandles, [&](std::uint32_t handle) { return clsact_program(hook, ifindex, handle) == wanted; });
    return there ? State::first : State::absent;
}

Hooks::State Hooks::state_tcx(std::uint32_t program, Hook hook, int ifindex) const {
    const auto runs_there = [&](int link) {
        bpf_link_info info{};
        std::uint32_t size = sizeof info;
        if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size) != 0 || info.prog_id != program)
            return false;
        // tcx {ifindex, attach_type} stands first in the link's own part; ifindex 0: the interface is gone.
        std::uint32_t where = 0;
        static_assert(sizeof info.raw_tracepoint >= sizeof where);
        std::copy_n(reinterpret_cast<const char*>(&info.raw_tracepoint), sizeof where, reinterpret_cast<char*>(&where));
        return where == static_cast<std::uint32_t>(ifindex);
    };
    const auto pinned = pinned_link(hook, ifindex);
    if (!runs_there(pinned.get())) {
        const auto held = held_.find(pin_name(hook, ifindex));
        return held != held_.end() && runs_there(held->second.get()) ? State::unpinned : State::absent;
    }
    return first_tcx_program(hook, ifindex) == program ? State::first : State::behind;
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
    auto& held = held_[pin_name(hook, ifindex)];
    if (auto pinned = pinned_link(hook, ifindex); pinned && bpf_link_update(pinned.get(), program, nullptr) == 0) {
        held = std::move(pinned);
        return {};
    }
    // The pin was taken away, but we have the link open.
    if (held && bpf_link_update(held.get(), program, nullptr) == 0)
        return pin_tcx(std::move(held), hook, ifindex);
    // No link, or one of an interface that is gone and whose index came back.
    auto link = create_tcx_link(program, ifindex, is_ingress(hook));
    if (!link)
        return fail_errno("tcx");
    if (auto ok = pin_tcx(std::move(link), hook, ifindex); !ok)
        return ok;
    detach_others_of_name(ifindex, is_ingress(hook), hook_name(hook), first_tcx_program(hook, ifindex));
    return {};
}

// By renaming: there is no moment in which our death would take the program away.
Status Hooks::pin_tcx(Fd link, Hook hook, int ifindex) {
    const auto path = pin_name(hook, ifindex), fresh = path + "-new";
    std::error_code error;
    std::filesystem::create_directories(folder_, error); // somebody may have removed it, with all that is in it
    std::filesystem::remove(fresh, error);
    const bool pinned = bpf_obj_pin(link.get(), fresh.c_str()) == 0;
    const int why = errno;
    held_[path] = std::move(link);
    if (!pinned)
        return fail_errno("cannot pin " + path + (why == EPERM || why == EINVAL ? " (is a bpffs mounted there?)" : ""),
                          why);
    std::filesystem::rename(fresh, path, error);
    if (error)
        return fail_errno("cannot pin " + path, error.value());
    return {};
}

Status Hooks::move_first(const Programs& programs, Hook hook, int ifindex) {
    const int program = programs.program_fd(hook);
    Status ok;
    if (tcx_) {
        ok = move_first_tcx(program, hook, ifindex);
    } else {
        const bool second = clsact_program(hook, ifindex, kHandles[1]) != 0;
        ok = put_clsact(program, hook, ifindex, kHandles[second ? 0 : 1]);
        if (ok)
            ok = remove_clsact(hook, ifindex, kHandles[second ? 1 : 0]);
    }
    if (!ok)
        return fail(std::string("cannot put ") + hook_name(hook) + " first on interface " + std::to_string(ifindex),
                    std::move(ok.error()));
    return {};
}

// The kernel runs one program once a hook: the old link drops everything while the new one takes its place.
Status Hooks::move_first_tcx(int program, Hook hook, int ifindex) {
    const auto old = pinned_link(hook, ifindex);
    const auto stop = load_constant(TC_ACT_SHOT);
    if (!old || !stop || bpf_link_update(old.get(), stop.get(), nullptr) != 0)
        return fail_errno("tcx");
    auto link = create_tcx_link(program, ifindex, is_ingress(hook));
    if (!link) {
        const int why = errno;
        (void)bpf_link_update(old.get(), program, nullptr); // behind is better than nothing but drops
        return fail_errno("tcx", why);
    }
    return pin_tcx(std::move(link), hook, ifindex);
}

Status Hooks::attach_clsact(int program, Hook hook, int ifindex) {
    auto where = clsact_hook(hook, ifindex);
    if (const int error = bpf_tc_hook_create(&where); error != 0 && error != -EEXIST)
        return fail_errno("clsact", -error);
    const bool second = clsact_program(hook, ifindex, kHandles[1]) != 0;
    return put_clsact(program, hook, ifindex, kHandles[second ? 1 : 0]);
}

Status Hooks::detach(Hook hook, int ifindex) {
    if (tcx_) {
        std::error_code error;
        std::filesystem::remove(pin_name(hook, ifindex), error);
        held_.erase(pin_name(hook, ifindex));
        if (error)
            return fail_errno("cannot remove " + pin_name(hook, ifindex), error.value());
        return {};
    }
    for (const auto handle : kHandles)
        if (auto ok = remove_clsact(hook, ifindex, handle); !ok)
            return ok;
    return {};
}

void Hooks::forget_absent(const std::vector<int>& present) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
        const auto name = entry.path().filename().string();
        int ifindex = 0;
        std::from_chars(name.data(), name.data() + name.size(), ifindex);
        if (std::find(present.begin(), present.end(), ifindex) == present.end()) {
            held_.erase(entry.path().string());
            std::filesystem::remove(entry.path(), error);
        }
    }
}

} // namespace penstock::datapath
