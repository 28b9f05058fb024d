#include "policy/model.hpp"

#include <algorithm>

namespace penstock::policy {

std::string_view proto_name(Proto proto) { return proto == Proto::tcp ? "tcp" : "udp"; }

std::optional<Proto> proto_from_name(std::string_view name) {
    if (name == "tcp")
        return Proto::tcp;
    if (name == "udp")
        return Proto::udp;
    return std::nullopt;
}

std::string PortRange::str() const {
    std::string text = std::string(proto_name(proto)) + "/" + std::to_string(lo);
    if (hi != lo)
        text += "-" + std::to_string(hi);
    return text;
}

bool Policy::is_for_gateway(std::string_view name) const {
    return std::ranges::any_of(gateways, [&](const std::string& glob) { return glob_matches(glob, name); });
}

const Device* Policy::find_device(std::string_view name) const {
    const auto found =
        std::ranges::lower_bound(devices, name, {}, [](const Device& d) { return std::string_view(d.name); });
    return found != devices.end() && found->name == name ? &*found : nullptr;
}

std::string Policy::cite(Source at) const {
    return (at.file < files.size() ? files[at.file] : std::string("?")) + ":" + std::to_string(at.line);
}

std::string Policy::title() const { return fleet + " version " + std::to_string(version); }

} // namespace penstock::policy
