#include "policy/bundle/fields.hpp"

#include "policy/read_values.hpp"
#include "policy/text.hpp"

#include <algorithm>
#include <cerrno>

namespace penstock::policy {

Result<Fields> Fields::read(Document::Value object, std::string place, std::initializer_list<std::string_view> names) {
    if (object.kind() != Kind::map)
        return fail(place + ": expected an object");
    Fields fields;
    for (const auto value : object) {
        if (std::ranges::find(names, value.key()) == names.end())
            return fail(place + ": unknown key " + quote(value.key()));
        fields.values_.push_back(value);
    }
    fields.place_ = std::move(place);
    for (const auto name : names)
        if (std::ranges::find(fields.values_, name, &Document::Value::key) == fields.values_.end())
            return fail(fields.place_ + ": the key " + quote(name) + " is missing");
    return fields;
}

Result<Document::Value> Fields::get(std::string_view name, Kind kind, std::string_view expected) const {
    const auto found = std::ranges::find(values_, name, &Document::Value::key);
    if (found == values_.end() || found->kind() != kind)
        return fail(place(name) + ": expected " + std::string(expected));
    return *found;
}

Result<std::string_view> Fields::text(std::string_view name) const {
    const auto value = get(name, Kind::text, "a text");
    if (!value)
        return tl::unexpected(value.error());
    return value->text();
}

Result<std::uint64_t> Fields::number(std::string_view name) const {
    const auto value = get(name, Kind::number, "a number from 0");
    if (!value)
        return tl::unexpected(value.error());
    return read_number(value->text());
}

Result<Document::Value> Fields::list(std::string_view name, const Limit& limit) const {
    auto value = get(name, Kind::list, "a list");
    if (value && value->size() > limit.value)
        return fail(place(name) + ": " + std::to_string(value->size()) + " entries are more than the " +
                        describe(limit),
                    EFBIG);
    return value;
}

Result<Document::Value> Fields::map(std::string_view name) const { return get(name, Kind::map, "an object"); }

bool is_key_id(std::string_view text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

} // namespace penstock::policy
