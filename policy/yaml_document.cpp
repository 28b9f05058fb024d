// YAML into a Document: yaml-cpp's event parser; nothing of YAML that could surprise a reader of a rule book.
#include "policy/document.hpp"
#include "policy/text.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>

namespace penstock::policy {
namespace {

// Later events are ignored after the first failure: yaml-cpp cannot be stopped but by an exception.
class Handler : public YAML::EventHandler {
public:
    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { scalar(mark, Kind::other, "null"); }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
        refuse(mark, "an alias (*name) is not allowed; write the value out");
    }
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        check(mark, tag, anchor);
        scalar(mark, tag == "!" ? Kind::text : plain_kind(value), value);
    }
    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        open(mark, tag, anchor, Kind::list);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        open(mark, tag, anchor, Kind::map);
    }
    void OnMapEnd() override { close(); }

    DocumentBuilder builder;
    std::string failure; // "12: sentence"

private:
    static std::uint32_t line_of(const YAML::Mark& mark) {
        return mark.line < 0 ? 1 : static_cast<std::uint32_t>(mark.line) + 1;
    }
    void refuse(const YAML::Mark& mark, const std::string& why) {
        if (failure.empty())
            failure = std::to_string(line_of(mark)) + ": " + why;
    }
    void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
        last_ = mark;
        if (anchor != YAML::NullAnchor)
            refuse(mark, "an anchor (&name) is not allowed; remove it");
        if (!tag.empty() && tag != "?" && tag != "!")
            refuse(mark, "the tag " + quote(tag) + " is not allowed; remove it");
    }
    void step(const YAML::Mark& mark, const Status& status) {
        if (status)
            return;
        const std::string path = builder.path();
        refuse(mark, (path.empty() ? "" : path + ": ") + status.error().message());
    }
    static Kind plain_kind(const std::string& value) {
        if (std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; }))
            return Kind::number;
        return value == "true" || value == "false" || value == "null" || value == "~" ? Kind::other : Kind::text;
    }
    void scalar(const YAML::Mark& mark, Kind kind, const std::string& value) {
        last_ = mark;
        if (!failure.empty())
            return;
        if (builder.wants_key())
            step(mark, builder.key(value, line_of(mark)));
        else
            step(mark, builder.scalar(kind, value, line_of(mark)));
    }
    void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Kind kind) {
        check(mark, tag, anchor);
        if (failure.empty() && builder.wants_key())
            refuse(mark, "a key must be a plain name");
        if (failure.empty())
            step(mark, builder.open(kind, line_of(mark)));
    }
    void close() {
        if (failure.empty())
            step(last_, builder.close());
    }
    YAML::Mark last_;
};

// line: from 1.
bool is_indented_with_tab(const std::string& text, int line) {
    std::istringstream lines(text);
    std::string one;
    while (line-- > 0)
        std::getline(lines, one);
    const auto end = std::min(one.find_first_not_of(" \t"), one.size());
    return one.substr(0, end).find('\t') != std::string::npos;
}

} // namespace

Result<Document> parse_yaml(const std::string& text, std::string_view path) {
    const std::string prefix = std::string(path) + ":";
    if (text.find('\0') != text.npos)
        return fail(prefix + "1: holds a NUL byte");
    Handler handler;
    try {
        std::istringstream stream(text);
        YAML::Parser parser(stream);
        const bool any = parser.HandleNextDocument(handler);
        if (!handler.failure.empty())
            return fail(prefix + handler.failure);
        if (!any || !handler.builder.complete())
            return fail(prefix + "1: is empty; expected a policy");
        Handler rest;
        if (parser.HandleNextDocument(rest))
            return fail(prefix + "1: holds more than one YAML document; use one file for each");
    } catch (const YAML::Exception& error) {
        const auto line = error.mark.line < 0 ? 1 : error.mark.line + 1;
        return fail(prefix + std::to_string(line) + ": is not YAML: " + error.msg +
                    (is_indented_with_tab(text, line) ? " (the line is indented with a tab; YAML wants spaces)" : ""));
    }
    return handler.builder.take();
}

} // namespace penstock::policy
