// A BPF array that is mapped into this process: filled and read without a system call an entry.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace penstock::datapath {

class MappedArray {
public:
    MappedArray() = default;
    // A new one, zeroed, fit to be the inside of a map of maps.
    static Result<MappedArray> make(const char* name, std::uint32_t value_size, std::uint32_t entries);
    // One that exists; made with BPF_F_MMAPABLE.
    static Result<MappedArray> open(Fd fd);

    MappedArray(MappedArray&& other) noexcept { *this = std::move(other); }
    MappedArray& operator=(MappedArray&& other) noexcept;
    ~MappedArray();

    [[nodiscard]] const Fd& fd() const { return fd_; }
    [[nodiscard]] std::uint32_t entries() const { return entries_; }
    [[nodiscard]] std::byte* at(std::uint32_t entry) const { return data_ + std::size_t{entry} * stride_; }
    [[nodiscard]] std::size_t size() const { return std::size_t{entries_} * stride_; }

private:
    Fd fd_;
    std::byte* data_ = nullptr;
    std::size_t stride_ = 0; // bytes from an entry to the next
    std::uint32_t entries_ = 0;
};

} // namespace penstock::datapath
