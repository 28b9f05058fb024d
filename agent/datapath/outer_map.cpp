#include "agent/datapath/outer_map.hpp"

#include <bpf/bpf.h>

#include <linux/bpf.h>
#include <set>

namespace penstock::datapath {

Result<MappedArray> OuterMap::open(std::uint32_t index) const {
    const auto id = id_at(index);
    if (id == 0)
        return MappedArray{};
    auto fd = open_id(id);
    if (!fd)
        return fail_errno("cannot open " + pin_of(id).string());
    return MappedArray::open(std::move(fd));
}

// Pinned first: what the map holds can always be opened.
Status OuterMap::put(std::uint32_t index, const MappedArray& array) const {
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(array.fd().get(), &info, &size) != 0)
        return fail_errno("cannot look at a BPF map");
    const auto before = id_at(index);
    const auto pin = pin_of(info.id);
    std::error_code ignored;
    std::filesystem::remove(pin, ignored);
    if (bpf_obj_pin(array.fd().get(), pin.c_str()) != 0)
        return fail_errno("cannot pin " + pin.string());
    const int fd = array.fd().get();
    if (bpf_map_update_elem(fd_.get(), &index, &fd, BPF_ANY) != 0) {
        auto failed = fail_errno("cannot put a map into the BPF map " + name_);
        std::filesystem::remove(pin, ignored);
        return failed;
    }
    if (before != 0)
        std::filesystem::remove(pin_of(before), ignored);
    return {};
}

Status OuterMap::clear(std::uint32_t index) const {
    const auto before = id_at(index);
    if (bpf_map_delete_elem(fd_.get(), &index) != 0 && errno != ENOENT)
        return fail_errno("cannot take a map out of the BPF map " + name_);
    std::error_code ignored;
    if (before != 0)
        std::filesystem::remove(pin_of(before), ignored);
    return {};
}

bool OuterMap::is_whole() const {
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd_.get(), &info, &size) != 0)
        return false;
    for (std::uint32_t index = 0; index < info.max_entries; index++)
        if (const auto id = id_at(index); id != 0 && !open_id(id))
            return false;
    return true;
}

void OuterMap::drop_orphans() const {
    std::set<std::filesystem::path> held;
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd_.get(), &info, &size) != 0)
        return;
    for (std::uint32_t index = 0; index < info.max_entries; index++)
        held.insert(pin_of(id_at(index)));
    std::error_code ignored;
    const auto prefix = "inner_" + name_ + "_";
    for (const auto& entry : std::filesystem::directory_iterator(folder_, ignored))
        if (entry.path().filename().string().starts_with(prefix) && !held.contains(entry.path()))
            std::filesystem::remove(entry.path(), ignored);
}

Fd OuterMap::open_id(std::uint32_t id) const {
    Fd fd(bpf_obj_get(pin_of(id).c_str()));
    if (!fd)
        fd = Fd(bpf_map_get_fd_by_id(id)); // somebody took the pin away: where we may
    return fd;
}

std::uint32_t OuterMap::id_at(std::uint32_t index) const {
    std::uint32_t id = 0;
    return bpf_map_lookup_elem(fd_.get(), &index, &id) == 0 ? id : 0;
}

// No dot: bpffs keeps such names for itself.
std::filesystem::path OuterMap::pin_of(std::uint32_t id) const {
    return folder_ / ("inner_" + name_ + "_" + std::to_string(id));
}

} // namespace penstock::datapath
