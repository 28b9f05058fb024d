// A BPF map with its key and value types: look up, write, delete, walk. Keeps the fd.
#pragma once

#include "agent/base/fd.hpp"
#include "agent/base/result.hpp"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace penstock::datapath {

// By which the kernel tells maps apart; 0 if the descriptor is no map's.
inline std::uint32_t map_id(int fd) {
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

template <class Key, class Value> class TypedMap {
public:
    TypedMap() = default;
    TypedMap(std::string name, Fd fd) : name_(std::move(name)), fd_(std::move(fd)) {}

    [[nodiscard]] int fd() const { return fd_.get(); }

    [[nodiscard]] std::optional<Value> find(const Key& key) const {
        Value value;
        if (bpf_map_lookup_elem(fd_.get(), &key, &value) != 0)
            return std::nullopt;
        return value;
    }

    Status put(const Key& key, const Value& value) const {
        if (bpf_map_update_elem(fd_.get(), &key, &value, BPF_ANY) != 0)
            return fail_errno(errno == E2BIG ? "BPF map " + name_ + " is full" : "cannot write BPF map " + name_);
        return {};
    }

    // A key that is not there is no error.
    Status remove(const Key& key) const {
        if (bpf_map_delete_elem(fd_.get(), &key) != 0 && errno != ENOENT)
            return fail_errno("cannot delete from BPF map " + name_);
        return {};
    }

    // A hash map that changes while it is walked may give a key twice or not at all.
    [[nodiscard]] std::vector<std::pair<Key, Value>> entries() const {
        std::vector<std::pair<Key, Value>> out;
        Key key, next;
        const Key* previous = nullptr;
        while (bpf_map_get_next_key(fd_.get(), previous, &next) == 0) {
            key = next;
            previous = &key;
            if (auto value = find(key))
                out.emplace_back(key, *value);
        }
        return out;
    }

private:
    std::string name_;
    Fd fd_;
};

} // namespace penstock::datapath
