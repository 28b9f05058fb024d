#include "tests/bench/attach.hpp"

#include "generator.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace penstock::bench {
namespace {

// linux/bpf.h of kernel 6.6; Debian 12's headers do not have them.
constexpr std::uint32_t kTcxIngress = 46, kTcxEgress = 47, kBefore = 1U << 3;
struct TcxCreate {
    std::uint32_t prog_fd, target_ifindex, attach_type, flags, relative_fd, pad;
    std::uint64_t expected_revision;
};
constexpr std::uint32_t kHandle = 0x62656e, kPriority = 1;

bpf_tc_hook clsact(int ifindex, bool ingress) {
    bpf_tc_hook out{};
    out.sz = sizeof out;
    out.ifindex = ifindex;
    out.attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return out;
}

bpf_tc_opts filter() {
    bpf_tc_opts out{};
    out.sz = sizeof out;
    out.handle = kHandle;
    out.priority = kPriority;
    return out;
}

} // namespace

Status enter_namespace(const std::string& name) {
    const Fd fd(open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd || setns(fd.get(), CLONE_NEWNET) != 0)
        return fail_errno("cannot enter the network namespace " + name);
    return {};
}

Result<int> ifindex_of(const std::string& interface) {
    const auto index = if_nametoindex(interface.c_str());
    if (index == 0)
        return fail_errno("interface " + interface);
    return static_cast<int>(index);
}

Result<Attachment> Attachment::make(int program, int ifindex, bool ingress) {
    Attachment out;
    TcxCreate attr{.prog_fd = static_cast<std::uint32_t>(program),
                   .target_ifindex = static_cast<std::uint32_t>(ifindex),
                   .attach_type = ingress ? kTcxIngress : kTcxEgress,
                   .flags = kBefore};
    out.link_ = Fd(static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr)));
    if (out.link_)
        return out;
    if (errno != EINVAL)
        return fail_errno("tcx");
    auto where = clsact(ifindex, ingress);
    auto what = filter();
    what.prog_fd = program;
    what.flags = BPF_TC_F_REPLACE;
    if (const int error = bpf_tc_hook_create(&where); error != 0 && error != -EEXIST)
        return fail_errno("clsact", -error);
    if (const int error = bpf_tc_attach(&where, &what); error != 0)
        return fail_errno("clsact filter", -error);
    out.ifindex_ = ifindex;
    out.ingress_ = ingress;
    return out;
}

Attachment& Attachment::operator=(Attachment&& other) noexcept {
    std::swap(link_, other.link_);
    std::swap(ifindex_, other.ifindex_);
    std::swap(ingress_, other.ingress_);
    return *this;
}

Attachment::~Attachment() {
    if (ifindex_ == 0)
        return;
    auto where = clsact(ifindex_, ingress_);
    auto what = filter();
    (void)bpf_tc_detach(&where, &what);
}

Status Attachment::keep(const std::filesystem::path& pin) {
    if (link_ && bpf_obj_pin(link_.get(), pin.c_str()) != 0)
        return fail_errno("cannot pin " + pin.string());
    ifindex_ = 0;
    return {};
}

void Generator::Free::operator()(bench_generator* skeleton) const { bench_generator__destroy(skeleton); }

Result<Generator> Generator::load() {
    Generator out;
    out.skeleton_.reset(bench_generator__open_and_load());
    if (!out.skeleton_)
        return fail_errno("cannot load the generator");
    return out;
}

int Generator::program(const std::string& name) const {
    return bpf_program__fd(bpf_object__find_program_by_name(skeleton_->obj, name.c_str()));
}

bench_settings& Generator::settings() const { return skeleton_->bss->settings; }
std::uint64_t Generator::delivered() const { return *const_cast<volatile __u64*>(&skeleton_->bss->delivered); }
std::uint64_t Generator::returned() const { return *const_cast<volatile __u64*>(&skeleton_->bss->returned); }
void Generator::set_to_peer(bool to_peer) const { skeleton_->bss->to_peer = to_peer; }

Status Generator::send(std::uint32_t packets) const {
    std::array<std::byte, BENCH_FRAME> frame{};
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = frame.size(),
                .repeat = static_cast<int>(packets), .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
    if (const int error = bpf_prog_test_run_opts(program("generate"), &options); error != 0)
        return fail_errno("cannot send live frames", -error);
    return {};
}

} // namespace penstock::bench
