// How the reader walks maps and lists: the templates behind the sections of reader*.cpp.
#pragma once

#include "policy/read_values.hpp"
#include "policy/reader.hpp"

#include <algorithm>

namespace penstock::policy {

// known, required: the last one of each belongs to the payload alone: "at", "files", or "" for nothing.
template <class F> Status PolicyReader::each_field(Value map, const Path& path, Names known, Names required, F&& read) {
    if (map.kind() != Kind::map)
        return expect(map, path, Kind::map, "{ " + std::string(known.front()) + ": ... }");
    const Names mine = mine_of(known), expected = mine_of(required);
    std::size_t seen = 0;
    for (const Value field : map) {
        const Path here{&path, field.key()};
        if (std::ranges::find(mine, field.key()) == mine.end()) {
            if (is_later_feature(field.key()))
                return wrong(source(field), here.str() + " " + unsupported("remove it"));
            std::string list;
            for (const auto name : mine)
                list += (list.empty() ? "" : ", ") + std::string(name);
            const auto hint = did_you_mean(field.key(), mine);
            return wrong(field, path,
                         "unknown key " + quote(field.key()) + hint + (hint.empty() ? "; known: " : " (known: ") +
                             list + (hint.empty() ? "" : ")"));
        }
        seen += std::ranges::find(expected, field.key()) != expected.end();
        if (auto ok = read(field, here); !ok)
            return ok;
    }
    if (seen == expected.size())
        return {};
    for (const auto name : expected) {
        bool there = false;
        for (const Value field : map)
            there = there || field.key() == name;
        if (!there && name == "addresses")
            return wrong(map, path, "has no addresses; list them, or write addresses: learn");
        if (!there)
            return wrong(map, path, "the key " + quote(name) + " is missing; add it");
    }
    return {};
}

template <class F> Status PolicyReader::each_item(Value list, const Path& path, const Limit& limit, F&& read) {
    if (auto ok = expect(list, path, Kind::list, "[ ... ]"); !ok)
        return ok;
    if (list.size() > limit.value)
        return over_limit(list, path, std::to_string(list.size()) + " entries are more than the " + describe(limit));
    std::int64_t index = 0;
    for (const Value item : list)
        if (auto ok = read(item, Path{&path, {}, index++}); !ok)
            return ok;
    return {};
}

// A list of texts, none twice, sorted: the order an author chose means nothing.
template <class T, class F>
Status PolicyReader::read_set(Value list, const Path& path, const Limit& limit, std::vector<T>& out, F&& parse) {
    const auto each = [&](Value item, const Path& here) -> Status {
        if (auto ok = expect(item, here, Kind::text, "\"...\""); !ok)
            return ok;
        auto parsed = parse(item.text());
        if (!parsed)
            return wrong(item, here, parsed.error().message());
        if (std::ranges::find(out, *parsed) != out.end())
            return wrong(item, here, quote(item.text()) + " is there twice; keep one");
        out.push_back(std::move(*parsed));
        return {};
    };
    if (auto ok = each_item(list, path, limit, each); !ok)
        return ok;
    if (out.empty())
        return wrong(list, path, "is empty; name at least one");
    std::ranges::sort(out);
    return {};
}

template <class T> Status PolicyReader::set_once(Once<T>& slot, T value, Value at, const Path& path) {
    if (slot.set && slot.value != value)
        return wrong(at, path, "contradicts " + where(slot.at) + "; every file of a fleet says the same");
    if (!slot.set)
        slot = {std::move(value), source(at), true};
    return {};
}

} // namespace penstock::policy
