#include "agent/doctor/hook_programs.hpp"

#include "agent/base/fd.hpp"
#include "agent/datapath/tcx.hpp"
#include "agent/doctor/tool.hpp"

#include <bpf/bpf.h>

namespace penstock::doctor {
namespace {

std::string name_of(std::uint32_t id) {
    const Fd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0)
        return "program " + std::to_string(id);
    return info.name;
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

Result<std::vector<HookProgram>> hook_programs(const std::string& interface, int ifindex, Side side) {
    std::vector<HookProgram> out;
    const auto ids = datapath::tcx_programs(ifindex, side == Side::ingress);
    if (!ids)
        return tl::unexpected(ids.error());
    for (const auto id : *ids)
        out.push_back({.name = name_of(id), .tcx = true});
    if (auto ok = add_filters(interface, side, out); !ok)
        return tl::unexpected(ok.error());
    return out;
}

} // namespace penstock::doctor
