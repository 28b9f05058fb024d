// The fields of a small JSON object, all of them required and no others: for the envelope and the root document.
#pragma once

#include "policy/document.hpp"

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::policy {

class Fields {
public:
    // place: the object's path for errors.
    static Result<Fields> read(Document::Value object, std::string place,
                               std::initializer_list<std::string_view> names);

    [[nodiscard]] Result<std::string_view> text(std::string_view name) const;
    [[nodiscard]] Result<std::uint64_t> number(std::string_view name) const;
    [[nodiscard]] Result<Document::Value> list(std::string_view name, const Limit& limit) const;
    [[nodiscard]] Result<Document::Value> map(std::string_view name) const;
    [[nodiscard]] std::string place(std::string_view name) const { return place_ + "." + std::string(name); }

private:
    [[nodiscard]] Result<Document::Value> get(std::string_view name, Kind kind, std::string_view expected) const;
    std::string place_;
    std::vector<Document::Value> values_;
};

bool is_key_id(std::string_view text); // 64 lower-case hex digits

} // namespace penstock::policy
