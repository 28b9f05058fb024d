#include "policy/document.hpp"

#include "policy/text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace penstock::policy {

std::uint32_t DocumentBuilder::keep(std::string_view text) {
    const auto at = static_cast<std::uint32_t>(document_.text_.size());
    document_.text_ += text;
    return at;
}

std::uint32_t DocumentBuilder::keep_key(std::string_view text) {
    const std::string_view all = document_.text_;
    for (const auto& one : keys_)
        if (one.size == text.size() && all.substr(one.at, one.size) == text)
            return one.at;
    const Kept kept{keep(text), static_cast<std::uint32_t>(text.size())};
    keys_[next_key_++ % keys_.size()] = kept;
    return kept.at;
}

std::string_view DocumentBuilder::key_of(const Open& level) const {
    return std::string_view(document_.text_).substr(level.key_at, level.key_size);
}

Status DocumentBuilder::count() {
    if (++values_ > kMaxValues.value)
        return fail("more values than the " + describe(kMaxValues), EFBIG);
    return {};
}

bool DocumentBuilder::wants_key() const {
    return !open_.empty() && document_.nodes_[open_.back().node].kind == Kind::map && open_.back().key_line == 0;
}

std::string DocumentBuilder::path() const {
    std::string out;
    for (const Open& level : open_) {
        if (document_.nodes_[level.node].kind == Kind::list)
            out += "[" + std::to_string(document_.nodes_[level.node].count) + "]";
        else if (level.key_line != 0)
            out.append(out.empty() ? "" : ".").append(key_of(level));
    }
    return out;
}

Status DocumentBuilder::key(std::string_view text, std::uint32_t line) {
    if (auto counted = count(); !counted)
        return counted;
    if (text.size() > kMaxTextBytes.value)
        return fail("a key is longer than the " + describe(kMaxTextBytes), EFBIG);
    if (document_.text_.size() + text.size() > UINT32_MAX)
        return fail("more text than one document can hold", EFBIG);
    open_.back().key_at = keep_key(text);
    open_.back().key_size = static_cast<std::uint32_t>(text.size());
    open_.back().key_line = line == 0 ? 1 : line;
    return {};
}

Result<std::uint32_t> DocumentBuilder::add(Kind kind, std::string_view text, std::uint32_t line) {
    if (auto counted = count(); !counted)
        return tl::unexpected(counted.error());
    if (text.size() > text_limit_.value)
        return fail("a text is longer than the " + describe(text_limit_), EFBIG);
    if (document_.text_.size() + text.size() > UINT32_MAX)
        return fail("more text than one document can hold", EFBIG);
    const auto index = static_cast<std::uint32_t>(document_.nodes_.size());
    Document::Node node{
        kind, line, 0, 0, keep(text), static_cast<std::uint32_t>(text.size()), Document::kNone, Document::kNone, 0};
    if (!open_.empty()) {
        Open& parent = open_.back();
        if (document_.nodes_[parent.node].kind == Kind::map) {
            node.key_size = parent.key_size;
            node.key_at = parent.key_at;
            if (line != 0)
                node.line = parent.key_line;
        }
        (parent.last == Document::kNone ? document_.nodes_[parent.node].first : document_.nodes_[parent.last].next) =
            index;
        parent.last = index;
    }
    document_.nodes_.push_back(node);
    return index;
}

Status DocumentBuilder::scalar(Kind kind, std::string_view text, std::uint32_t line) {
    if (auto added = add(kind, text, line); !added)
        return tl::unexpected(added.error());
    if (!open_.empty()) {
        document_.nodes_[open_.back().node].count++;
        open_.back().key_line = 0;
    }
    return {};
}

Status DocumentBuilder::open(Kind kind, std::uint32_t line) {
    if (open_.size() >= kMaxDepth.value)
        return fail("nested deeper than the " + describe(kMaxDepth), EFBIG);
    const auto added = add(kind, {}, line);
    if (!added)
        return tl::unexpected(added.error());
    open_.push_back({.node = *added, .last = Document::kNone, .key_line = 0, .key_at = 0, .key_size = 0});
    return {};
}

Status DocumentBuilder::close() {
    const Document::Node& closed = document_.nodes_[open_.back().node];
    if (closed.kind == Kind::map)
        if (auto unique = check_duplicates(closed); !unique)
            return unique;
    open_.pop_back();
    if (!open_.empty()) {
        document_.nodes_[open_.back().node].count++;
        open_.back().key_line = 0;
    }
    return {};
}

Status DocumentBuilder::check_duplicates(const Document::Node& map) const {
    const std::string_view text = document_.text_;
    std::array<std::string_view, 8> few;
    if (map.count <= few.size()) { // nearly all maps are small: compare every two
        std::size_t have = 0;
        bool unique = true;
        for (auto i = map.first; i != Document::kNone; i = document_.nodes_[i].next) {
            const auto key = text.substr(document_.nodes_[i].key_at, document_.nodes_[i].key_size);
            unique = unique && std::find(few.begin(), few.begin() + have, key) == few.begin() + have;
            few[have++] = key;
        }
        if (unique)
            return {};
    }
    std::vector<std::string_view> keys;
    keys.reserve(map.count);
    for (auto i = map.first; i != Document::kNone; i = document_.nodes_[i].next)
        keys.push_back(text.substr(document_.nodes_[i].key_at, document_.nodes_[i].key_size));
    std::ranges::sort(keys);
    const auto twice = std::ranges::adjacent_find(keys);
    if (twice == keys.end())
        return {};
    std::string lines;
    for (auto i = map.first; i != Document::kNone; i = document_.nodes_[i].next) {
        const auto& node = document_.nodes_[i];
        if (node.line != 0 && text.substr(node.key_at, node.key_size) == *twice)
            lines += (lines.empty() ? " (lines " : ", ") + std::to_string(node.line);
    }
    return fail("the key " + quote(*twice) + " is there twice" + (lines.empty() ? "" : lines + ")") + "; keep one",
                EEXIST);
}

} // namespace penstock::policy
