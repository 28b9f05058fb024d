#include "agent/datapath/mapped_array.hpp"

#include <bpf/bpf.h>

#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace penstock::datapath {
namespace {

std::size_t mapped_size(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
}

} // namespace

Result<MappedArray> MappedArray::make(const char* name, std::uint32_t value_size, std::uint32_t entries) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE);
    Fd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(std::uint32_t), value_size, entries, &options));
    if (!fd)
        return fail_errno(std::string("the kernel refuses memory for the map ") + name);
    return open(std::move(fd));
}

Result<MappedArray> MappedArray::open(Fd fd) {
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0)
        return fail_errno("cannot look at a BPF map");
    MappedArray out;
    out.stride_ = (std::size_t{info.value_size} + 7) / 8 * 8;
    out.entries_ = info.max_entries;
    void* const data = mmap(nullptr, mapped_size(out.size()), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (data == MAP_FAILED) {
        out.entries_ = 0;
        return fail_errno(std::string("cannot map BPF map ") + info.name);
    }
    out.data_ = static_cast<std::byte*>(data);
    out.fd_ = std::move(fd);
    return out;
}

MappedArray& MappedArray::operator=(MappedArray&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(data_, other.data_);
    std::swap(stride_, other.stride_);
    std::swap(entries_, other.entries_);
    return *this;
}

MappedArray::~MappedArray() {
    if (data_ != nullptr)
        munmap(data_, mapped_size(size()));
}

} // namespace penstock::datapath
