#include "agent/datapath/early_drop.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <linux/bpf.h>
#include <linux/if_link.h>

namespace penstock::datapath {
namespace {

// Whether a link stands on this interface; one of an interface that is gone names none.
bool stands_on(int link, int ifindex, bpf_link_info& info) {
    std::uint32_t size = sizeof info;
    return link >= 0 && bpf_obj_get_info_by_fd(link, &info, &size) == 0 && info.type == BPF_LINK_TYPE_XDP &&
           info.xdp.ifindex == static_cast<std::uint32_t>(ifindex);
}

std::string why_not(int error) {
    switch (error) {
    case EOPNOTSUPP:
        return "its driver does not take the program";
    case EBUSY:
    case EEXIST:
        return "another XDP program stands there";
    default:
        return "XDP";
    }
}

} // namespace

EarlyDrop::EarlyDrop(const Programs& programs, const std::filesystem::path& bpffs)
    : program_(programs.early_drop_fd()), folder_(bpffs / "links") {}

std::filesystem::path EarlyDrop::pin(int ifindex) const {
    return folder_ / (std::to_string(ifindex) + "-" + kEarlyDrop);
}

Status EarlyDrop::attach(int ifindex) const {
    bpf_link_info info{};
    if (const Fd pinned(bpf_obj_get(pin(ifindex).c_str()));
        stands_on(pinned.get(), ifindex, info) && bpf_link_update(pinned.get(), program_, nullptr) == 0)
        return {};
    if (auto ok = detach(ifindex); !ok)
        return ok;
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
    const Fd link(bpf_link_create(program_, ifindex, BPF_XDP, &options));
    if (!link)
        return fail_errno(why_not(errno));
    if (bpf_obj_pin(link.get(), pin(ifindex).c_str()) != 0)
        return fail_errno("cannot pin " + pin(ifindex).string());
    return {};
}

bool EarlyDrop::attached(int ifindex) const {
    const Fd pinned(bpf_obj_get(pin(ifindex).c_str()));
    bpf_link_info link{};
    bpf_prog_info program{};
    std::uint32_t size = sizeof program;
    return stands_on(pinned.get(), ifindex, link) && bpf_obj_get_info_by_fd(program_, &program, &size) == 0 &&
           link.prog_id == program.id;
}

Status EarlyDrop::detach(int ifindex) const {
    std::error_code error;
    std::filesystem::remove(pin(ifindex), error);
    if (error)
        return fail_errno("cannot remove " + pin(ifindex).string(), error.value());
    return {};
}

} // namespace penstock::datapath
