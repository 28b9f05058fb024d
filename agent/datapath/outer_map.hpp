// A map of maps, whose arrays this process makes and a later one opens. Each is pinned beside it under its id: to open
// a map by its id alone takes CAP_SYS_ADMIN, which penstockd does not have.
#pragma once

#include "agent/datapath/mapped_array.hpp"

#include <filesystem>

namespace penstock::datapath {

class OuterMap {
public:
    OuterMap() = default;
    // folder: where the map itself is pinned.
    OuterMap(Fd fd, std::filesystem::path folder, std::string name)
        : fd_(std::move(fd)), folder_(std::move(folder)), name_(std::move(name)) {}

    // What it holds at `index`; nothing (entries() is 0) if it holds none.
    [[nodiscard]] Result<MappedArray> open(std::uint32_t index) const;
    // In place of what it held there.
    [[nodiscard]] Status put(std::uint32_t index, const MappedArray& array) const;
    // Holds nothing there afterwards; that is no error before.
    [[nodiscard]] Status clear(std::uint32_t index) const;
    // Whether everything that it holds can be opened.
    [[nodiscard]] bool is_whole() const;
    // Takes the pins away that nothing holds any more: a process that died in the middle of put() leaves one.
    void drop_orphans() const;

private:
    [[nodiscard]] Fd open_id(std::uint32_t id) const;
    // Of the array at `index`; 0: none.
    [[nodiscard]] std::uint32_t id_at(std::uint32_t index) const;
    [[nodiscard]] std::filesystem::path pin_of(std::uint32_t id) const;

    Fd fd_;
    std::filesystem::path folder_;
    std::string name_;
};

} // namespace penstock::datapath
