// A YAML or JSON document as a small tree in two flat arrays, built under limits: depth, values, text length, duplicate
// keys.
#pragma once

#include "agent/base/result.hpp"
#include "policy/limits.hpp"

#include <array>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::policy {

enum class Kind : std::uint8_t {
    map,
    list,
    text,
    number,
    other
}; // number: digits only; other: null, true, -1, 0.5 ...

class Document {
public:
    class Value;
    class Iterator;
    [[nodiscard]] Value root() const;

private:
    friend class DocumentBuilder;
    static constexpr std::uint32_t kNone = UINT32_MAX;
    struct Node {
        Kind kind;
        std::uint32_t line;
        std::uint32_t key_at, key_size;
        std::uint32_t text_at, text_size;
        std::uint32_t first, next, count; // children, next sibling
    };
    std::vector<Node> nodes_;
    std::string text_;
};

// One value. Valid while its Document lives and does not move.
class Document::Value {
public:
    Value(const Document* document, std::uint32_t index) : document_(document), index_(index) {}
    [[nodiscard]] Kind kind() const { return node().kind; }
    [[nodiscard]] std::uint32_t line() const { return node().line; } // of the key if it has one; from 1; 0 for JSON
    [[nodiscard]] std::uint32_t size() const { return node().count; }
    [[nodiscard]] std::string_view key() const { return view(node().key_at, node().key_size); }
    [[nodiscard]] std::string_view text() const { return view(node().text_at, node().text_size); }
    [[nodiscard]] Iterator begin() const;
    [[nodiscard]] Iterator end() const;

private:
    friend class Iterator;
    [[nodiscard]] const Node& node() const { return document_->nodes_[index_]; }
    [[nodiscard]] std::string_view view(std::uint32_t at, std::uint32_t size) const {
        return std::string_view(document_->text_).substr(at, size);
    }
    const Document* document_;
    std::uint32_t index_;
};

class Document::Iterator {
public:
    Iterator(const Document* document, std::uint32_t index) : document_(document), index_(index) {}
    Value operator*() const { return {document_, index_}; }
    Iterator& operator++() {
        index_ = document_->nodes_[index_].next;
        return *this;
    }
    bool operator==(const Iterator&) const = default;

private:
    const Document* document_;
    std::uint32_t index_;
};

inline Document::Value Document::root() const { return {this, 0}; }
inline Document::Iterator Document::Value::begin() const { return {document_, node().first}; }
inline Document::Iterator Document::Value::end() const { return {document_, kNone}; }

// Takes the events of a parser. After the first error the document is lost.
class DocumentBuilder {
public:
    explicit DocumentBuilder(Limit text_limit = kMaxTextBytes) : text_limit_(text_limit) {}

    Status open(Kind kind, std::uint32_t line); // map or list
    Status close();
    Status key(std::string_view text, std::uint32_t line);
    Status scalar(Kind kind, std::string_view text, std::uint32_t line);

    [[nodiscard]] bool wants_key() const; // inside a map, before a key
    [[nodiscard]] bool complete() const { return !document_.nodes_.empty() && open_.empty(); }
    [[nodiscard]] std::string path() const; // of the value at hand: "services.time.ports[1]"
    [[nodiscard]] Document take() { return std::move(document_); }

private:
    struct Open {
        std::uint32_t node;
        std::uint32_t last;     // youngest child
        std::uint32_t key_line; // 0: no key is pending
        std::uint32_t key_at, key_size;
    };
    Result<std::uint32_t> add(Kind kind, std::string_view text, std::uint32_t line);
    Status count();
    Status check_duplicates(const Document::Node& map) const;
    std::uint32_t keep(std::string_view text);
    std::uint32_t keep_key(std::string_view text);
    [[nodiscard]] std::string_view key_of(const Open& level) const;

    Limit text_limit_;
    std::uint64_t values_ = 0;
    std::vector<Open> open_;
    // Keys are few and come again and again: the latest ones are kept once.
    struct Kept {
        std::uint32_t at = 0, size = 0;
    };
    std::array<Kept, 16> keys_{};
    std::size_t next_key_ = 0;
    Document document_;
};

// Strict JSON (RFC 8259): one value, valid UTF-8, no NUL, no byte after it. what: what errors call it, e.g. "payload".
// Codes of errors, here and in those who read the document: EFBIG over a limit, EEXIST a key twice in an object,
// EBADMSG bytes after the end, EILSEQ invalid UTF-8.
Result<Document> parse_json(std::string_view bytes, std::string_view what, Limit text_limit = kMaxTextBytes);

// One YAML document without anchors, aliases and tags. path: what errors call it: "path:line: ...".
Result<Document> parse_yaml(const std::string& text, std::string_view path);

} // namespace penstock::policy
